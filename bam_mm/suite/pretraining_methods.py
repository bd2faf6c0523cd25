"""Pretraining methods of this package and of mmpretrain on the same backbone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from bam_mm.checkpoint.sources import ARCHITECTURES
from bam_mm.errors import InputError
from bam_mm.launch.config import load_config
from bam_mm.models.siamese import SiameseModel
from bam_mm.registry import CONFIG_SCOPE, MODELS
from bam_mm.variables.entries import kind_of

METHODS = {
    "bam": "bam_mm::pretrain/bam_vit-base-p16_16xb256-amp-coslr-300e_in1k.py",
    "simclr": "simclr/simclr_resnet50_16xb256-coslr-200e_in1k.py",
    "byol": "byol/byol_resnet50_16xb256-coslr-200e_in1k.py",
    "swav": "swav/swav_resnet50_8xb32-mcrop-coslr-200e_in1k-224px-96px.py",
    "mocov3": "mocov3/mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k.py",
    "mae": "mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py",
    "dino": "bam_mm::methods/dino_vit-small-p16_8xb256-amp-coslr-100e_in1k.py",
    "nnclr": "bam_mm::methods/nnclr_vit-small-p16_8xb256-amp-coslr-100e_in1k.py",
    "relic": "bam_mm::methods/relic_vit-small-p16_8xb256-amp-coslr-100e_in1k.py",
}
"""Config file with the neck and head of each method: one of mmpretrain where it has the method."""

SEES = {"bam": "all", "swav": "all", "dino": "all", "mae": "first"}
"""Views that a method is trained on; all other methods use the first two."""

MOMENTUM = 0.996
"""Momentum of this package's teachers; its value has no influence on the cost."""


@dataclass(frozen=True)
class Views:
    """Number and sizes of the views of an image.

    Attributes:
        num_global: Number of large views.
        global_size: Side of a large view in pixels.
        num_local: Number of small views.
        local_size: Side of a small view in pixels.
    """

    num_global: int
    global_size: int
    num_local: int = 0
    local_size: int = 96

    @classmethod
    def of(cls, texts: Sequence[str]) -> Views:
        """Read views from the command line.

        Args:
            texts: Number x side of the large views, then optionally of the small views, as in
                ``["2x224", "6x96"]``.

        Raises:
            InputError: If the text is invalid, or if there are fewer than two large views.
        """
        try:
            pairs = [tuple(int(part) for part in text.split("x")) for text in texts]
            (number, size), *rest = pairs
            local_number, local_size = rest[0] if rest else (0, 96)
            if len(rest) > 1 or number < 2 or min(size, local_size) < 1 or local_number < 0:
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"--crops {' '.join(texts)}: expected number x side of the large views (at least "
                "2), then of the small ones, as in --crops 2x224 6x96"
            ) from error
        return cls(number, size, local_number, local_size)

    def seen_by(self, method: str) -> Views:
        """Return the views that a method is trained on."""
        sees = SEES.get(method)
        if sees == "all":
            return self
        return replace(self, num_global=1 if sees == "first" else 2, num_local=0)

    def sides(self, method: str) -> list[int]:
        """Return the sides of the views that a method is trained on."""
        seen = self.seen_by(method)
        return [seen.global_size] * seen.num_global + [seen.local_size] * seen.num_local


def build_method(method: str, backbone: str, views: Views) -> nn.Module:
    """Build a pretraining method on a backbone.

    Args:
        method: Key of :data:`METHODS`.
        backbone: Key of :data:`~bam_mm.checkpoint.sources.ARCHITECTURES`.
        views: Views of an image.

    Returns:
        The algorithm, in training mode.

    Raises:
        InputError: If a name is unknown, or if the method does not support the backbone.
    """
    for option, name, known in (
        ("--model", method, METHODS),
        ("--backbone", backbone, ARCHITECTURES),
    ):
        if name not in known:
            raise InputError(f"{option} {name}: choose one of {', '.join(known)}")
    init_default_scope("mmpretrain")
    config = _read(method)
    network = copy.deepcopy(ARCHITECTURES[backbone])
    transformer = "patch_size" in network
    if transformer:
        network["img_size"] = views.global_size
        if method == "swav":  # mmpretrain's SwAV neck pools a map, which costs the same.
            network["out_type"] = "featmap"
    width, is_map = _width(network, views.global_size)
    neck = config.neck
    if method == "mae":
        _fit_mae(config, network, width, views.global_size)
    else:
        neck.in_channels = width
        config.backbone = ConfigDict(network)
        # BAM pools a map itself.
        if "with_avg_pool" in neck:
            neck.with_avg_pool = is_map
    if method == "swav":
        config.head.loss.num_crops = [views.num_global, views.num_local]
    config.data_preprocessor = dict(type="SelfSupDataPreprocessor")
    if "layout" in config:  # Methods of this package.
        config.layout = asdict(views.seen_by(method))
        config.data_preprocessor = dict(
            type="bam_mm.MultiViewPreprocessor", layout=dict(config.layout)
        )
    # The momentum schedules of BYOL and MoCo v3 read the training length from the message hub,
    # which a runner would fill.
    hub = MessageHub.get_current_instance()
    hub.update_info("max_iters", 100_000)
    hub.update_info("iter", 0)
    model = MODELS.build(config)
    model.init_weights()
    return model if torch.cuda.is_available() else revert_sync_batchnorm(model)


def make_views(method: str, views: Views, batch: int, device: str) -> Any:
    """Draw random normalised images.

    Args:
        method: Key of :data:`METHODS`.
        views: Views of an image.
        batch: Number of images.
        device: Device of the result.

    Returns:
        The inputs of the method's ``loss``: a tensor (B, 3, H, W) for each view, or a single tensor
        for MAE.
    """
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.randn(batch, 3, side, side, generator=generator).to(device)
        for side in views.sides(method)
    ]
    return drawn[0] if method == "mae" else drawn


def step(model: nn.Module, inputs: list[Tensor] | Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Run one training step: loss, gradients and update.

    The step also updates the teacher of this package's methods. Those of mmpretrain update theirs
    in ``loss``.

    Args:
        model: The algorithm.
        inputs: Views from :func:`make_views`.
        optimizer: The optimizer.
    """
    losses = cast(Any, model).loss(inputs, [])
    total = sum(value for key, value in losses.items() if "loss" in key)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    optimizer.step()
    if isinstance(model, SiameseModel):
        model.update_teacher(MOMENTUM)


def _read(method: str) -> ConfigDict:
    file = METHODS[method]
    if file.startswith(CONFIG_SCOPE):
        return load_config(file).model
    from mmpretrain import __path__ as package

    path = Path(package[0]) / ".mim/configs" / file
    if not path.is_file():
        raise InputError(
            f"mmpretrain's config {path} is missing: reinstall mmpretrain (see make doctor)"
        )
    return Config.fromfile(path).model


def _width(network: dict[str, Any], side: int) -> tuple[int, bool]:
    """Return the width of a backbone's last output, and whether that output is a map."""
    backbone = MODELS.build(network)
    backbone.eval()
    with torch.no_grad():
        last = backbone(torch.zeros(1, 3, side, side))[-1]
    return last.shape[1], last.ndim == 4


def _fit_mae(config: ConfigDict, network: dict[str, Any], width: int, side: int) -> None:
    if "patch_size" not in network or kind_of(network) != "MoCoV3ViT":
        raise InputError(
            "mae masks the patches of a plain vision transformer: choose a ViT with --backbone"
        )
    arch = network["arch"]
    if isinstance(arch, str):
        zoo = MODELS.get("mmpretrain.MoCoV3ViT").arch_zoo
        arch = dict(zoo[arch])
    patch = network["patch_size"]
    config.backbone.update(arch=arch, img_size=side, patch_size=patch)
    config.neck.update(embed_dim=width, patch_size=patch, num_patches=(side // patch) ** 2)
    config.head.patch_size = patch
