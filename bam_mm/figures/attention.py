"""Where a backbone looks, drawn on one's own images (paper, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from bam_mm.checkpoint import build_backbone, parse_backbone
from bam_mm.data.image_folder import EXTENSIONS
from bam_mm.data.loading import decode_image
from bam_mm.errors import InputError
from bam_mm.models.saliency import attention_maps, is_transformer, saliency
from bam_mm.protocols.plots import plt, save_figure

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
COLUMNS = 7


@dataclass(frozen=True)
class Looker:
    """A backbone that is asked where it looks.

    Attributes:
        spec: Its name.
        backbone: In evaluation mode.
        heads: Whether its maps are of attention heads.
        multiple: Sides of an image are multiples of it, in pixels.
    """

    spec: str
    backbone: nn.Module
    heads: bool
    multiple: int

    @torch.no_grad()
    def look(self, image: np.ndarray) -> np.ndarray:
        """Maps of one image.

        Args:
            image: (H, W, 3) uint8, RGB; H and W multiples of ``multiple``.

        Returns:
            (heads, h, w) attention of the class token, or (1, h, w) saliency; not negative.
        """
        pixels = (torch.from_numpy(image).float() - torch.tensor(MEAN)) / torch.tensor(STD)
        batch: Tensor = pixels.permute(2, 0, 1)[None]
        if self.heads:
            return attention_maps(self.backbone, batch)[0].numpy()
        heat = saliency(self.backbone, batch)
        return (heat - heat.min()).numpy()


def build_looker(spec: str, *, trust: bool = False, seed: int = 0) -> Looker:
    """Build a backbone by its short name, with proof of loading.

    Args:
        spec: See :func:`~bam_mm.checkpoint.parse_backbone`.
        trust: The user's explicit word that code in the file may run.
        seed: Of random weights.

    Raises:
        InputError: As :func:`~bam_mm.checkpoint.build_backbone`.
    """
    init_default_scope("mmpretrain")
    torch.manual_seed(seed)
    source = parse_backbone(spec, trust=trust)
    try:
        # timm's transformers take one size of images, unless they are told to take any.
        timm = source.config["type"].endswith("TIMMBackbone")
        backbone, _ = build_backbone(source, trust=trust, **({"dynamic_img_size": True} * timm))
    except TypeError:
        backbone, _ = build_backbone(source, trust=trust)
    backbone.eval()
    heads = is_transformer(backbone)
    size = source.config.get("patch_size") or _patch(backbone) if heads else 32
    return Looker(spec, backbone, heads, int(size))


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Images by path; of a folder all that lie directly in it.

    Raises:
        InputError: If a path does not exist, or there is no image.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            found += sorted(p for p in path.iterdir() if p.suffix.lower() in EXTENSIONS)
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"image {path} does not exist; name images, or folders of images")
    if not found:
        raise InputError(f"no image in {', '.join(map(str, paths))}: known endings {EXTENSIONS}")
    return found


def read_image(path: Path, *, short_side: int, multiple: int) -> np.ndarray:
    """Read an image and scale it so that both sides are multiples of the patch.

    Args:
        path: The file.
        short_side: In pixels, before rounding down.
        multiple: Of both sides.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        InputError: If it cannot be read, or would be smaller than a patch.
    """
    image = decode_image(path.read_bytes(), str(path))
    scale = short_side / min(image.shape[:2])
    height, width = (round(side * scale) // multiple * multiple for side in image.shape[:2])
    if min(height, width) < multiple:
        raise InputError(
            f"--size {short_side}: the backbone's patches are {multiple} pixels; take a larger size"
        )
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[:, :, ::-1])


def plot_attention(image: np.ndarray, maps: np.ndarray, out: Path, *, heads: bool) -> Path:
    """Draw the image, the mean map, and each head.

    Args:
        image: (H, W, 3) uint8, RGB.
        maps: (heads, h, w), or (1, h, w).
        out: File to write.
        heads: Whether the maps are of heads.

    Returns:
        ``out``.
    """
    panels = [("image", None), ("mean of the heads" if heads else "saliency", maps.mean(axis=0))]
    panels += [(f"head {n}", map_) for n, map_ in enumerate(maps, start=1)] if heads else []
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    aspect = image.shape[0] / image.shape[1]
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(1.9 * columns, (1.9 * aspect + 0.25) * rows),
        constrained_layout=True,
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, map_) in zip(axes.flat, panels, strict=False):
        axis.set_title(title, fontsize=8)
        axis.imshow(image if map_ is None else overlay(image, map_))
    return save_figure(figure, out)


def overlay(image: np.ndarray, map_: np.ndarray) -> np.ndarray:
    """Lay a map over an image made grey and dim, from its least (dark) to its most (bright).

    Args:
        image: (H, W, 3) uint8, RGB.
        map_: (h, w).

    Returns:
        (H, W, 3) uint8, RGB.
    """
    size = image.shape[1], image.shape[0]
    spread = float(map_.max() - map_.min())
    # A map that is the same everywhere points nowhere.
    scaled = (map_ - map_.min()) / spread if spread > 0 else np.zeros_like(map_)
    heat = cv2.resize(scaled.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    colours = plt.get_cmap("inferno")(heat)[:, :, :3]
    grey = image.mean(axis=2, keepdims=True) / 255
    return (255 * (0.3 * grey + 0.7 * colours)).round().clip(0, 255).astype(np.uint8)


def _patch(backbone: nn.Module) -> int:
    inner = getattr(backbone, "timm_model", backbone)
    size = getattr(inner.patch_embed, "patch_size", 16)
    return size if isinstance(size, int) else size[0]
