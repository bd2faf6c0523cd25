"""Helpers for detection and segmentation configs: narrow backbones and one iteration."""

import torch
from mmengine.hooks import Hook

from bam_mm.launch.runner import build_runner
from tests.models import small_caformer


class Snapshot(Hook):
    def before_train(self, runner):
        self.state = {k: v.clone() for k, v in runner.model.state_dict().items()}


def shrink(backbone):
    """Make a backbone narrow and shallow and return the widths of its four maps.

    Other tests build the full sizes.
    """
    if backbone.type == "bam_mm.DenseViT":
        arch = backbone.arch
        if arch.embed_dims > 96:
            arch.update(embed_dims=arch.embed_dims // 8, num_layers=4, feedforward_channels=64)
            backbone.blocks = [0, 1, 2, 3]
        return [arch.embed_dims] * 4
    if backbone.type == "bam_mm.DenseBackbone":
        backbone.network.update(stem_channels=8, base_channels=8)
        return [32, 64, 128, 256]
    if backbone.type == "bam_mm.DenseCAFormer":
        backbone.model_name = small_caformer.SMALL["model_name"]
        return [8, 16, 32, small_caformer.WIDTH]
    backbone.update(stem_channels=8, base_channels=8)
    return [32, 64, 128, 256]


def train_once(config):
    """Train for one iteration and check the loss and which weights change."""
    runner = build_runner(config)
    snapshot = Snapshot()
    runner.register_hook(snapshot, priority="LOWEST")
    runner.train()
    assert runner.iter == 1
    assert torch.isfinite(torch.tensor(runner.message_hub.get_scalar("train/loss").current()))
    before, now = snapshot.state, runner.model.state_dict()
    moved = {k for k in before if not torch.equal(before[k], now[k])}
    assert any("head" in k for k in moved)
    frozen = config.model.backbone.get("frozen", False)
    assert any(k.startswith("backbone.") for k in moved) != frozen
    assert all(torch.isfinite(v).all() for v in now.values() if v.is_floating_point())
