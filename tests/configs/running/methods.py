"""Configs of other methods: one iteration with few and small images."""

import torch

from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner
from tests.configs.running.pretrain import SMALLER

BATCH = 4
WIDE = ("hid_channels", "num_prototypes", "queue_size")
"""Widths that only cost time and memory here."""


def narrow(part):
    """Reduce the widths inside of a model, in place."""
    for key, value in part.items():
        if isinstance(value, dict):
            narrow(value)
        elif key in WIDE:
            part[key] = min(value, 256)


def shorten(model):
    """Leave two layers of MAE's or BEiT's network and a small decoder or tokenizer, in place."""
    if isinstance(model.backbone.arch, dict):
        model.backbone.arch.num_layers = 2
    if model.type == "MAE":
        model.neck.decoder_depth = 1
    tokenizer = model.get("target_generator")
    if tokenizer and tokenizer.type == "DALL-E":
        # Its weights would be downloaded.
        tokenizer.update(init_cfg=None, n_hid=16, n_blk_per_group=1)
    elif tokenizer:
        # As many images as there are have no more patches of different looks.
        tokenizer.num_words = model.head.num_embed = 32


def run(path, world, work_dir):
    """Train for one iteration and check the loss and the weights."""
    config = load_config(path)
    masked = "layout" not in config.model.data_preprocessor
    options = {
        "data_root": str(world / "images"),
        "train_dataloader.batch_size": BATCH,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_dataloader.dataset.indices": BATCH,
        "train_cfg.max_epochs": 1,
        "work_dir": str(work_dir),
    }
    if not masked:
        layout = config.layout
        options["layout.global_size"] = SMALLER.get(layout.global_size, layout.global_size)
        if layout.num_local:
            options["layout.local_size"] = SMALLER.get(layout.local_size, layout.local_size)
    config = load_config(path, options)
    if masked:
        shorten(config.model)
    else:
        narrow(config.model)
    if config.model.type == "bam_mm.DINO":
        config.model.neck.out_channels = config.model.head.out_channels = 256
    config.custom_hooks = [h for h in config.custom_hooks if "KNN" not in h.type]
    config.default_hooks.checkpoint = None
    runner = build_runner(config)
    moved = {k: v.clone() for k, v in runner.model.named_parameters() if v.requires_grad}
    runner.train()
    assert runner.iter == 1
    loss = runner.message_hub.get_scalar("train/loss").current()
    assert torch.isfinite(torch.tensor(loss))
    now = dict(runner.model.named_parameters())
    assert all(torch.isfinite(p).all() for p in now.values())
    assert any(not torch.equal(now[k], v) for k, v in moved.items())
