"""Classification configs: linear, fine-tuning, semi-supervised, transfer and feature protocols."""

import torch
from mmengine.hooks import Hook

from bam_mm.data.subsets import write_subset
from bam_mm.data.toy import CLASS_NAMES
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner
from tests.configs.running import feature_protocols

TRANSFER = ("cifar10", "cifar100", "flowers", "pets")


def run(path, world, work_dir):
    """Train for one iteration and check that the right weights change.

    The head changes, and the backbone too unless the config is a linear probe. A protocol on
    extracted features runs completely.
    """
    if feature_protocols.protocol_of(path):
        feature_protocols.run(path, world, work_dir)
        return
    config = reduced(path, world, work_dir)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.default_hooks.checkpoint = None
    if "ResNet" not in config.model.backbone.type and "toy" not in path.stem:
        shrink(config.model)
    runner = build_runner(config)
    snapshot = Snapshot()
    runner.register_hook(snapshot, priority="LOWEST")
    runner.train()
    assert runner.iter == 1
    assert torch.isfinite(torch.tensor(runner.message_hub.get_scalar("train/loss").current()))
    before = snapshot.state
    now = runner.model.state_dict()
    moved = {k for k in before if not torch.equal(before[k], now[k])}
    assert (
        "head.fc.weight" in moved
        or {f"head.probes.{number}.fc.weight" for number in range(len(runner.model.settings))}
        <= moved
    )
    assert any(k.startswith("backbone.") for k in moved) == ("linear" not in path.stem)
    assert all(torch.isfinite(v).all() for v in now.values())


def reduced(path, world, work_dir):
    """Load a config that trains, with four images of the toy world."""
    options = {
        "checkpoint": "random",
        "data_root": str(world / "images"),
        "num_classes": len(CLASS_NAMES),
        "train_dataloader.batch_size": 4,
        "train_dataloader.dataset.indices": 4,
        "work_dir": str(work_dir),
        "auto_scale_lr": None,
    }
    if "percent" in path.stem:
        options["subset"] = str(write_subset(world / "images", percent=50)[0])
    config = load_config(path, options)
    if _is_transfer(path):
        # The data sets are not available; the rest of the protocol runs on the toy world.
        config.train_dataloader.dataset.update(type="bam_mm.ImageFolder", split="train")
        config.train_dataloader.dataset.pop("name")
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    config.train_cfg.update(max_epochs=1)
    return config


class Snapshot(Hook):
    def before_train(self, runner):
        self.state = {k: v.clone() for k, v in runner.model.state_dict().items()}


def shrink(model):
    """Reduce a transformer to an eighth of the width and four blocks.

    Other tests build the full sizes.
    """
    arch = model.backbone.arch
    width = arch.embed_dims if isinstance(arch, dict) else 768 if arch == "base" else 384
    model.backbone.arch = dict(
        embed_dims=width // 8, num_layers=4, num_heads=12, feedforward_channels=64
    )
    width = model if "in_channels" in model else model.head
    width.in_channels //= 8
    if "neck" in model:
        model.neck.input_features //= 8


def _is_transfer(path):
    return path.stem.rsplit("_", 1)[1] in TRANSFER and path.stem.startswith("vit-base")
