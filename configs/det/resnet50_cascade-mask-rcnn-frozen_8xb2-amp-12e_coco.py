# Cascade Mask R-CNN on the frozen ResNet-50: only necks and heads are trained, with the optimizer
# of the unfrozen config. FrozenBackboneHook checks that the backbone does not change.
_base_ = "./resnet50_cascade-mask-rcnn_8xb2-amp-12e_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="bam_mm.DenseBackbone",
        network=dict(type="mmpretrain.ResNet", depth=50),
        frozen=True,
    ),
)
custom_hooks = [*_base_.custom_hooks, dict(type="bam_mm.FrozenBackboneHook")]
