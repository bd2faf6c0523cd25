# Cascade Mask R-CNN on ResNet-50 with the same heads and data; SGD as in mmdet's 1x schedule. Its
# BatchNorm is trained and synchronised because self-supervised features differ in scale from
# supervised ones (MoCo's protocol). No stage is frozen.
_base_ = [
    "../_base_/models/cascade-mask-rcnn_vit-p16.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/protocols/detection_12e.py",
    "../_base_/mmdet_runtime.py",
]

lr = 0.02
layer_decay_rate = 1.0
model = dict(
    backbone=dict(
        _delete_=True,
        type="bam_mm.DenseResNet",
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        norm_eval=False,
    ),
    neck=[
        dict(type="FPN", in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
        dict(type="bam_mm.ToFloat32"),
    ],
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=lr, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(layer_decay_rate=layer_decay_rate),
)
