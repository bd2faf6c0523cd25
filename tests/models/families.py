"""One small backbone of each family that the suite takes, with random weights.

Tests of every task use this table, so that no family is left out of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import (
    ConvNeXt,
    ResNet,
    SwinTransformer,
    VisionTransformer,
    list_models,
)
from torchvision.models._api import register_model
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import BasicBlock

from bam_mm.registry import MODELS
from tests.models.small_caformer import SMALL, WIDTH

TIMM = "mmpretrain.TIMMBackbone"
TORCHVISION = "bam_mm.TorchvisionBackbone"
ARCH = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=48)


@dataclass(frozen=True)
class Family:
    """A family of backbones.

    Attributes:
        name: Name in test ids.
        config: Config of a small backbone.
        side: Side of square images that it takes as built, in pixels.
        strides: Strides of its stages in pixels, empty if it returns no maps.
        widths: Widths of its stages.
        prefix: Number of tokens in front of the patches.
        cls: Index of the [CLS] token, None for none.
        stops: Words of the reason for which a task stops, by task.
    """

    name: str
    config: dict[str, Any]
    side: int = 64
    strides: tuple[int, ...] = (4, 8, 16, 32)
    widths: tuple[int, ...] = ()
    prefix: int = 0
    cls: int | None = None
    stops: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def build(family: Family, **overrides: Any) -> nn.Module:
    """Build the backbone of a family in evaluation mode, with weights that no norm hides."""
    torch.manual_seed(0)
    backbone = MODELS.build({**family.config, **overrides})
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            if parameter.ndim == 1 and not name.endswith("bias"):
                parameter.uniform_(0.5, 1.5)
            elif any(word in name for word in ("token", "pos_embed")):
                parameter.normal_(std=0.5)
    backbone.eval()  # mmpretrain's eval() returns None.
    return backbone


def images(family: Family, number: int = 2, scale: int = 1) -> Tensor:
    """Return random images of the size that a family takes."""
    side = family.side * scale
    return torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(0))


@contextmanager
def saved_elements() -> Iterator[list[int]]:
    """Collect the numbers of elements of the activations that autograd saves for a backward pass.

    Inside of a block with activation checkpointing, it saves none.
    """
    found = []

    def pack(tensor: Tensor) -> Tensor:
        whole = tensor if tensor._base is None else tensor._base
        if not isinstance(whole, nn.Parameter):
            found.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def small_torchvision(name: str, make: Any) -> str:
    """Register a small architecture with torchvision, whose own builders have fixed sizes."""
    if name not in list_models():
        register_model(name)(lambda weights=None, progress=False, **kwargs: make(**kwargs))
    return name


small_torchvision(
    "bam_mm_test_vit",
    lambda **k: VisionTransformer(
        64, 16, num_layers=3, num_heads=3, hidden_dim=24, mlp_dim=48, **k
    ),
)
small_torchvision(
    "bam_mm_test_swin",
    lambda **k: SwinTransformer([4, 4], 12, [1, 1, 1, 1], [1, 1, 2, 2], [2, 2], **k),
)
small_torchvision(
    "bam_mm_test_convnext",
    lambda **k: ConvNeXt(
        [
            CNBlockConfig(8, 16, 1),
            CNBlockConfig(16, 24, 1),
            CNBlockConfig(24, 32, 1),
            CNBlockConfig(32, None, 1),
        ],
        **k,
    ),
)


small_torchvision("bam_mm_test_resnet", lambda **k: ResNet(BasicBlock, [1, 1, 1, 1], **k))


@MODELS.register_module()
class OwnMaps(nn.Module):
    """Your own network with maps of stride 4 and 8."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 10, 2, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        return x, self.body(x.relu())


@MODELS.register_module()
class OwnTokens(nn.Module):
    """Your own network with a [CLS] token and patches."""

    num_extra_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Conv2d(3, 6, 16, 16), nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.embed(x).flatten(2).transpose(1, 2)
        return torch.cat([self.token + patches.mean(dim=1, keepdim=True), patches], dim=1)


@MODELS.register_module()
class OwnVector(nn.Module):
    """Your own network with one vector per image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.mean(dim=(2, 3)))


def _blocks(number: int, stride: int, width: int) -> dict[str, Any]:
    return dict(strides=(stride,) * number, widths=(width,) * number)


def _timm(name: str, **settings: Any) -> dict[str, Any]:
    return dict(type=TIMM, model_name=name, **settings)


NO_MAPS = {"video": "but a map"}

_NARROW = dict(depth=3, embed_dim=24, num_heads=3)

FAMILIES = [
    Family(
        "timm-vit",
        _timm("vit_tiny_patch16_224", img_size=64, **_NARROW),
        prefix=1,
        cls=0,
        **_blocks(3, 16, 24),
    ),
    Family(
        "timm-deit-distilled",
        _timm("deit_tiny_distilled_patch16_224", img_size=64, **_NARROW),
        prefix=2,
        cls=0,
        **_blocks(3, 16, 24),
    ),
    Family(
        "timm-dinov2-registers",
        _timm("vit_small_patch14_reg4_dinov2", img_size=56, **_NARROW),
        side=56,
        prefix=5,
        cls=0,
        **_blocks(3, 14, 24),
    ),
    Family(
        "timm-dinov3",
        _timm("vit_small_patch16_dinov3", img_size=64, **_NARROW),
        prefix=5,
        cls=0,
        **_blocks(3, 16, 24),
    ),
    Family(
        "timm-registers-without-cls",
        _timm("vit_medium_patch16_reg4_gap_256", img_size=64, **_NARROW),
        prefix=4,
        **_blocks(3, 16, 24),
    ),
    Family(
        "timm-cait",
        _timm("cait_xxs24_224", img_size=64, **_NARROW),
        prefix=1,
        cls=0,
        stops={"video": "takes images of 64x64 pixels only"},
        **_blocks(3, 16, 24),
    ),
    Family(
        "timm-vit-without-cls",
        _timm("vit_base_patch16_siglip_224", img_size=64, **_NARROW),
        stops={"own": "pools by attention"},
        **_blocks(3, 16, 24),
    ),
    Family(
        "timm-beit",
        _timm("beit_base_patch16_224", img_size=64, **_NARROW),
        prefix=1,
        cls=0,
        stops={"video": "takes images of 64x64 pixels only"},
        **_blocks(3, 16, 24),
    ),
    Family(
        "timm-eva02",
        _timm("eva02_tiny_patch14_224", img_size=56, **_NARROW),
        side=56,
        prefix=1,
        cls=0,
        **_blocks(3, 14, 24),
    ),
    Family(
        "timm-swin",
        _timm(
            "swin_tiny_patch4_window7_224",
            img_size=64,
            window_size=2,
            embed_dim=12,
            depths=(1, 1, 1, 1),
            num_heads=(1, 1, 2, 2),
        ),
        widths=(12, 24, 48, 96),
    ),
    Family(
        "timm-convnext",
        _timm("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)),
        widths=(8, 16, 24, 32),
    ),
    Family("timm-caformer", dict(SMALL), widths=(8, 16, 32, WIDTH)),
    Family("timm-efficientnet", _timm("tf_efficientnet_lite0"), widths=(24, 40, 112, 320)),
    Family("timm-mobilenet", _timm("mobilenetv3_small_050"), widths=(8, 16, 24, 288)),
    Family(
        "timm-resnet",
        _timm("resnet18", channels=(8, 16, 24, 32), stem_width=8),
        widths=(8, 16, 24, 32),
    ),
    Family(
        "mmpretrain-vit",
        dict(type="mmpretrain.VisionTransformer", arch=ARCH, img_size=64, patch_size=16),
        prefix=1,
        cls=0,
        **_blocks(4, 16, 24),
    ),
    Family(
        "mmpretrain-beit",
        dict(type="mmpretrain.BEiTViT", arch=ARCH, img_size=64, patch_size=16),
        prefix=1,
        cls=0,
        stops={"video": "takes images of 64x64 pixels only"},
        **_blocks(4, 16, 24),
    ),
    Family(
        "mmpretrain-swin",
        dict(
            type="mmpretrain.SwinTransformer",
            arch=dict(embed_dims=12, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
            window_size=2,
        ),
        widths=(12, 24, 48, 96),
    ),
    Family(
        "mmpretrain-convnext",
        dict(type="mmpretrain.ConvNeXt", arch=dict(depths=[1] * 4, channels=[8, 16, 24, 32])),
        widths=(8, 16, 24, 32),
    ),
    Family(
        "mmpretrain-efficientnet",
        dict(type="mmpretrain.EfficientNet", arch="b0"),
        widths=(24, 40, 112, 320),
    ),
    Family(
        "mmpretrain-mvit",
        dict(
            type="mmpretrain.MViT",
            arch=dict(embed_dims=12, num_layers=4, num_heads=1, downscale_indices=[1, 2, 3]),
            img_size=64,
        ),
        widths=(12, 24, 48, 96),
    ),
    Family(
        "mmpretrain-resnet",
        dict(type="mmpretrain.ResNet", depth=18, stem_channels=8, base_channels=8),
        widths=(8, 16, 32, 64),
    ),
    Family(
        "torchvision-vit",
        dict(type=TORCHVISION, model_name="bam_mm_test_vit"),
        prefix=1,
        cls=0,
        **_blocks(3, 16, 24),
    ),
    Family(
        "torchvision-swin",
        dict(type=TORCHVISION, model_name="bam_mm_test_swin"),
        widths=(12, 24, 48, 96),
    ),
    Family(
        "torchvision-convnext",
        dict(type=TORCHVISION, model_name="bam_mm_test_convnext"),
        widths=(8, 16, 24, 32),
    ),
    Family(
        "torchvision-resnet",
        dict(type=TORCHVISION, model_name="bam_mm_test_resnet"),
        widths=(64, 128, 256, 512),
    ),
    Family(
        "torchvision-mobilenet",
        dict(type=TORCHVISION, model_name="mobilenet_v3_small"),
        widths=(16, 24, 48, 576),
    ),
    Family("own-maps", dict(type="bam_mm.OwnMaps"), strides=(4, 8), widths=(6, 10)),
    Family("own-tokens", dict(type="bam_mm.OwnTokens"), strides=(), prefix=1, cls=0, stops=NO_MAPS),
    Family("own-vector", dict(type="bam_mm.OwnVector"), strides=(), stops=NO_MAPS),
]
"""The table. Every task either works for a family, or stops with the reason in ``stops``."""

BY_NAME = {family.name: family for family in FAMILIES}

TOLERANCE = dict(rtol=1e-5, atol=1e-5)
"""Differences in float32 between two ways to compute the same features."""
