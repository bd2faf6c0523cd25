# Cascade Mask R-CNN on ViT-B/16, 36 epochs of COCO.
_base_ = [
    "../_base_/models/cascade-mask-rcnn_vit-p16.py",
    "../_base_/datasets/coco_instance.py",
    "../_base_/protocols/detection_36e.py",
    "../_base_/mmdet_runtime.py",
]
