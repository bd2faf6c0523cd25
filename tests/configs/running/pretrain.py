"""Pretraining configs: one iteration, including ContrastiveCrop's boxes."""

import torch

from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner

SMALLER = {224: 64, 96: 32}
"""Reduced sides of views in pixels: four patches of 16 px instead of fourteen."""


def reduced(path, world, work_dir, batch=2, options=None):
    """Load a config with few and small images and a narrow projector."""
    config = load_config(path)
    layout = config.layout
    options = {
        "data_root": str(world / "images"),
        "train_dataloader.batch_size": batch,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_dataloader.dataset.indices": batch,
        "train_cfg.max_epochs": 1,
        "work_dir": str(work_dir),
        "layout.global_size": SMALLER.get(layout.global_size, layout.global_size),
        "default_hooks.boxes.loader.batch_size": batch,
        "default_hooks.boxes.loader.num_workers": 0,
        **(options or {}),
    }
    if layout.num_local:
        options["layout.local_size"] = SMALLER.get(layout.local_size, layout.local_size)
    if config.default_hooks.boxes.start is not None:
        # Start the boxes in the first epoch, so that the backbone's heat maps are computed too.
        options["default_hooks.boxes.start"] = 0
        options["default_hooks.boxes.loader.pipeline.1.scale"] = (64, 64)
    config = load_config(path, options)
    # Three 4096 x 4096 matrices in both branches would take most of the time and memory.
    wide = config.model.neck.hid_channels
    config.model.neck.update(hid_channels=min(wide, 256), out_channels=min(wide, 256))
    if config.model.type == "bam_mm.BAM":
        keys = layout.num_global * (batch - 1)
        config.model.head.top_k = min(config.model.head.get("top_k", 0), keys)
    return config


def run(path, world, work_dir):
    """Train for one iteration and check the loss, the weights and the boxes."""
    config = reduced(path, world, work_dir)
    config.custom_hooks = [h for h in config.custom_hooks if "KNN" not in h.type]
    config.default_hooks.checkpoint = None
    runner = build_runner(config)
    moved = {
        k: v.clone() for k, v in runner.model.named_parameters() if v.requires_grad and v.ndim > 1
    }
    runner.train()
    assert runner.iter == 1
    loss = runner.message_hub.get_scalar("train/loss").current()
    assert torch.isfinite(torch.tensor(loss))
    now = dict(runner.model.named_parameters())
    assert all(torch.isfinite(p).all() for p in now.values())
    assert any(not torch.equal(now[k], v) for k, v in moved.items())
    boxes = runner.train_dataloader.dataset.pipeline.transforms[1].boxes
    assert boxes.active == (config.default_hooks.boxes.start is not None)
