# mmpretrain's SimCLR for comparison with BAM: the same backbone, data, batch, epochs, views and
# optimizer as bam_resnet18-w16_1xb256-coslr-8e_cifar10.py. Projector width and temperature are
# those of the SimCLR paper for CIFAR-10 (Chen et al., 2020, appendix B.9).
_base_ = "./bam_resnet18-w16_1xb128-coslr-8e_cifar10.py"

model = dict(
    _delete_=True,
    type="SimCLR",
    backbone=_base_.model.backbone,
    neck=dict(
        type="NonLinearNeck",
        in_channels=128,
        hid_channels=512,
        out_channels=128,
        num_layers=2,
        with_avg_pool=True,
    ),
    head=dict(
        type="ContrastiveHead",
        loss=dict(type="CrossEntropyLoss"),
        temperature=0.5,
    ),
    data_preprocessor=_base_.model.data_preprocessor,
)
train_dataloader = dict(batch_size=256)
# SimCLR has no teacher to update.
custom_hooks = _base_.custom_hooks[1:]
