"""Pretraining methods of this package and of mmpretrain, on one and the same backbone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from bam_mm.checkpoint.sources import ARCHITECTURES
from bam_mm.errors import InputError
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import ROOT
from bam_mm.models.bam import BAM
from bam_mm.registry import MODELS

METHODS = {
    "bam": "configs/pretrain/bam_vit-base-p16_16xb256-amp-coslr-300e_in1k.py",
    "simclr": "simclr/simclr_resnet50_16xb256-coslr-200e_in1k.py",
    "byol": "byol/byol_resnet50_16xb256-coslr-200e_in1k.py",
    "swav": "swav/swav_resnet50_8xb32-mcrop-coslr-200e_in1k-224px-96px.py",
    "mocov3": "mocov3/mocov3_vit-base-p16_16xb256-amp-coslr-300e_in1k.py",
    "mae": "mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py",
}
"""The file whose neck and head a method has: ours, else one of mmpretrain's."""

SEES = {"bam": "all", "swav": "all", "mae": "first"}
"""Which views a method is given; the others the first two."""

MOMENTUM = 0.996
"""Of BAM's teacher: any value costs the same."""


@dataclass(frozen=True)
class Views:
    """Sizes of the views of one image.

    Attributes:
        num_global: How many large ones.
        global_size: Their side in pixels.
        num_local: How many small ones.
        local_size: Their side in pixels.
    """

    num_global: int
    global_size: int
    num_local: int = 0
    local_size: int = 96

    @classmethod
    def of(cls, texts: Sequence[str]) -> Views:
        """Read ``2x224 6x96``.

        Raises:
            InputError: If it cannot be read, or there are not two large views.
        """
        try:
            pairs = [tuple(int(part) for part in text.split("x")) for text in texts]
            (number, size), *rest = pairs
            local_number, local_size = rest[0] if rest else (0, 96)
            if len(rest) > 1 or number < 2 or min(size, local_size) < 1 or local_number < 0:
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"--crops {' '.join(texts)}: number x side of the large views, two or more, then "
                "of the small ones, as in --crops 2x224 6x96"
            ) from error
        return cls(number, size, local_number, local_size)

    def sides(self, method: str) -> list[int]:
        """Sides of the views that a method is given."""
        every = [self.global_size] * self.num_global + [self.local_size] * self.num_local
        return {"all": every, "first": every[:1]}.get(SEES.get(method, "two"), every[:2])


def build_method(method: str, backbone: str, views: Views) -> nn.Module:
    """Build a method on a backbone.

    Args:
        method: A name of :data:`METHODS`.
        backbone: A name of :data:`~bam_mm.checkpoint.sources.ARCHITECTURES`.
        views: What it will be given.

    Returns:
        The algorithm, in training mode.

    Raises:
        InputError: If a name is unknown, or the method cannot have this backbone.
    """
    for what, name, known in (
        ("--model", method, METHODS),
        ("--backbone", backbone, ARCHITECTURES),
    ):
        if name not in known:
            raise InputError(f"{what} {name}: choose of {', '.join(known)}")
    init_default_scope("mmpretrain")
    config = _read(method)
    network = copy.deepcopy(ARCHITECTURES[backbone])
    transformer = "patch_size" in network
    if transformer:
        network["img_size"] = views.global_size
        if method == "swav":  # mmpretrain's neck of SwAV pools a map; it costs the same.
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
    if method == "bam":
        sizes = dict(num_global=views.num_global, num_local=views.num_local)
        config.layout = {**sizes, "global_size": views.global_size, "local_size": views.local_size}
    config.pop("data_preprocessor", None)
    if method != "bam":
        config.data_preprocessor = dict(type="SelfSupDataPreprocessor")
    else:
        config.data_preprocessor = dict(
            type="bam_mm.MultiViewPreprocessor", layout=dict(config.layout)
        )
    # The momentum schedules of BYOL and MoCo v3 ask the runner for its length; there is none.
    hub = MessageHub.get_current_instance()
    hub.update_info("max_iters", 100_000)
    hub.update_info("iter", 0)
    model = MODELS.build(config)
    model.init_weights()
    return model if torch.cuda.is_available() else revert_sync_batchnorm(model)


def make_views(method: str, views: Views, batch: int, device: str) -> Any:
    """Random normalised images, as the method's ``loss`` takes them."""
    generator = torch.Generator().manual_seed(0)
    drawn = [
        torch.randn(batch, 3, side, side, generator=generator).to(device)
        for side in views.sides(method)
    ]
    return drawn[0] if method == "mae" else drawn


def step(model: nn.Module, inputs: list[Tensor] | Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step: loss, gradients, update, and BAM's teacher (the others move theirs in the loss)."""
    losses = model.loss(inputs, [])
    total = sum(value for key, value in losses.items() if "loss" in key)
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    optimizer.step()
    if isinstance(model, BAM):
        model.update_teacher(MOMENTUM)


def _read(method: str) -> ConfigDict:
    file = METHODS[method]
    if method == "bam":
        return load_config(ROOT / file).model
    from mmpretrain import __path__ as place

    path = Path(place[0]) / ".mim/configs" / file
    if not path.is_file():
        raise InputError(f"mmpretrain's config {path} is not here: reinstall it (make doctor)")
    return Config.fromfile(path).model


def _width(network: dict[str, Any], side: int) -> tuple[int, bool]:
    """Width of a backbone's last output, and whether that is a map."""
    backbone = MODELS.build(network)
    backbone.eval()
    with torch.no_grad():
        last = backbone(torch.zeros(1, 3, side, side))[-1]
    return last.shape[1], last.ndim == 4


def _fit_mae(config: ConfigDict, network: dict[str, Any], width: int, side: int) -> None:
    if "patch_size" not in network or not network["type"].endswith("MoCoV3ViT"):
        raise InputError("mae masks the patches of a plain vision transformer: choose a vit")
    arch = network["arch"]
    if isinstance(arch, str):
        zoo = MODELS.get("mmpretrain.MoCoV3ViT").arch_zoo
        arch = dict(zoo[arch])
    patch = network["patch_size"]
    config.backbone.update(arch=arch, img_size=side, patch_size=patch)
    config.neck.update(embed_dim=width, patch_size=patch, num_patches=(side // patch) ** 2)
    config.head.patch_size = patch
