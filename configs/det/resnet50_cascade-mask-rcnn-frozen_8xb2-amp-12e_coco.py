# Cascade Mask R-CNN on the frozen ResNet-50: only necks and heads are trained, with the optimizer
# of the unfrozen config. FrozenBackboneHook checks that the backbone does not change.
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
        type="bam_mm.DenseBackbone",
        network=dict(type="mmpretrain.ResNet", depth=50),
        frozen=True,
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
custom_hooks = [*_base_.custom_hooks, dict(type="bam_mm.FrozenBackboneHook")]
