"""Detection configs on the toy world's instances."""

from bam_mm.launch.config import load_config
from tests.configs.running.dense import shrink, train_once


def run(path, world, work_dir):
    """Train for one iteration on two images of 96x128 pixels."""
    config = reduced(path, world, work_dir)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.default_hooks.checkpoint = None
    train_once(config)


def reduced(path, world, work_dir):
    """Load a config with narrow parts and two images for training."""
    toy = load_config(path.parent / "vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy.py")
    config = load_config(
        path,
        {
            "checkpoint": "random",
            "num_classes": toy.num_classes,
            "metainfo": toy.metainfo,
            "data_root": str(world / "coco"),
            "work_dir": str(work_dir),
            "train_cfg.max_epochs": 1,
        },
    )
    data = config.train_dataloader.dataset
    config.train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    data.update(
        indices=2,
        ann_file=toy.train_dataloader.dataset.ann_file,
        data_prefix=toy.train_dataloader.dataset.data_prefix,
    )
    for step in _steps(data.pipeline):
        if step.type == "RandomChoiceResize":
            step.scales = [(96, 160), (128, 192)]
        elif step.type == "RandomCrop":
            step.crop_size = (64, 96)
    model = config.model
    narrow(model, shrink(model.backbone), width=32)
    model.train_cfg.rpn_proposal.update(nms_pre=50, max_per_img=20)
    for stage in model.train_cfg.rcnn:
        stage.sampler.num = 16
    return config


def narrow(model, maps, width):
    """Adapt neck and heads to the maps of the backbone and make them narrow too."""
    for part in model.neck:
        if "Feature2Pyramid" in part.type:
            part.embed_dim = maps[0]
        elif part.type == "FPN":
            part.update(in_channels=maps, out_channels=width)
    model.rpn_head.update(in_channels=width, feat_channels=width)
    roi = model.roi_head
    roi.bbox_roi_extractor.out_channels = roi.mask_roi_extractor.out_channels = width
    for head in roi.bbox_head:
        head.update(in_channels=width, conv_out_channels=width, fc_out_channels=width)
    roi.mask_head.update(in_channels=width, conv_out_channels=width)


def _steps(pipeline):
    for step in pipeline:
        yield step
        for chain in step.get("transforms", ()):
            yield from _steps(chain)
