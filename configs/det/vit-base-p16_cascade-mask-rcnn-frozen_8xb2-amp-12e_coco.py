# Cascade Mask R-CNN on the frozen ViT-B/16: iBOT's protocol for 12 epochs, in which only necks and
# heads are trained. FrozenBackboneHook checks that the backbone does not change.
_base_ = [
    "../_base_/models/cascade-mask-rcnn_vit-p16.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/protocols/detection_12e.py",
    "../_base_/mmdet_runtime.py",
]

layer_decay_rate = 1.0
model = dict(backbone=dict(drop_path_rate=0.0, frozen=True))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=layer_decay_rate))
custom_hooks = [*_base_.custom_hooks, dict(type="bam_mm.FrozenBackboneHook")]
