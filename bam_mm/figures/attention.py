"""Attention of a backbone, drawn on your own images (paper, Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from bam_mm.checkpoint import BackboneSource, build_backbone, parse_backbone
from bam_mm.checkpoint.preprocessing import IMAGENET, Preprocessing
from bam_mm.data.file_names import IMAGE_ENDINGS
from bam_mm.data.image_files import images_directly_in
from bam_mm.data.loading import read_image as read_file
from bam_mm.errors import InputError
from bam_mm.models.adapters import adapter_of
from bam_mm.models.saliency import attention_maps, is_transformer, saliency
from bam_mm.protocols.plots import plt, save_figure
from bam_mm.variables.entries import kind_of

COLUMNS = 7
MOST_ELONGATED = 20
"""Largest ratio of the sides of an image; longer ones have too many patches for the memory."""


@dataclass(frozen=True)
class AttentionModel:
    """Backbone whose attention or saliency can be drawn.

    Attributes:
        spec: Short name of the backbone, see :func:`~bam_mm.checkpoint.parse_backbone`.
        backbone: Backbone in evaluation mode.
        heads: Whether the maps show attention, one map per head; otherwise there is one saliency
            map.
        multiple: Number of pixels that both sides of an image must be a multiple of.
        preprocessing: Normalisation of the images.
        fixed: The only size (H, W) of images in pixels that the backbone takes, None for any.
    """

    spec: str
    backbone: nn.Module
    heads: bool
    multiple: int
    preprocessing: Preprocessing = IMAGENET
    fixed: tuple[int, int] | None = None

    @torch.no_grad()
    def attention(self, image: np.ndarray) -> np.ndarray:
        """Compute the maps of one image.

        Args:
            image: Image (H, W, 3) uint8, RGB; H and W are multiples of ``multiple``.

        Returns:
            Attention of the class token (heads, h, w), or saliency (1, h, w); never negative.
        """
        used = self.preprocessing
        pixels = torch.from_numpy(image).float()
        pixels = pixels.flip(2) if used.channels == "bgr" else pixels
        pixels = (pixels - torch.tensor(used.mean)) / torch.tensor(used.std)
        batch: Tensor = pixels.permute(2, 0, 1)[None]
        if self.heads:
            return attention_maps(self.backbone, batch)[0].numpy()
        heat = saliency(self.backbone, batch)
        return (heat - heat.min()).numpy()


def build_attention_model(
    spec: str | BackboneSource,
    *,
    trust: bool = False,
    seed: int = 0,
    normalisation: str = "model",
) -> AttentionModel:
    """Build a backbone by its short name and load its weights.

    Args:
        spec: Short name of the backbone, or the result of
            :func:`~bam_mm.checkpoint.parse_backbone`.
        trust: Whether code in the checkpoint may run; set only at the user's explicit request.
        seed: Seed of random weights.
        normalisation: ``model`` for the model's own (ImageNet's if it states none), or
            ``imagenet``.

    Returns:
        The backbone, ready for drawing.

    Raises:
        InputError: Same as in :func:`~bam_mm.checkpoint.build_backbone`.
    """
    init_default_scope("mmpretrain")
    torch.manual_seed(seed)
    source = parse_backbone(spec, trust=trust) if isinstance(spec, str) else spec
    try:
        # By default, timm's transformers accept a single image size. Other timm models do not know
        # the option and raise TypeError.
        timm = kind_of(source.config) == "TIMMBackbone"
        backbone, _ = build_backbone(
            source, trust=trust, **({"dynamic_img_size": True} if timm else {})
        )
    except TypeError:
        backbone, _ = build_backbone(source, trust=trust)
    backbone.eval()
    heads = is_transformer(backbone)
    size = source.config.get("patch_size") or _patch_size(backbone) if heads else 32
    found = source.preprocessing(trust=trust) if normalisation == "model" else None
    used = replace(found or IMAGENET, geometry=None, geometry_source="--size")
    sizes = adapter_of(backbone).sizes
    fixed = sizes.fixed if not sizes.any_size else None
    return AttentionModel(source.spec, backbone, heads, int(size), used, fixed)


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Find images by path.

    Args:
        paths: Images and folders. A folder stands for the images directly in it.

    Returns:
        Paths of the images, sorted within each folder.

    Raises:
        InputError: If a path does not exist, or there is no image.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            names, left_out = images_directly_in(path)
            found += [path / name for name in names]
            if left_out:
                text = f"{path}: {len(names)} images; left out: {left_out.text()}"
                print_log(text, logger="current")
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"image {path} does not exist: pass images, or folders of images")
    if not found:
        raise InputError(
            f"no image in {', '.join(map(str, paths))}: pass images with one of the endings "
            f"{' '.join(IMAGE_ENDINGS)}"
        )
    return found


def read_image(
    path: Path, *, short_side: int, multiple: int, fixed: tuple[int, int] | None = None
) -> np.ndarray:
    """Read an image and resize it so that both sides are multiples of the patch size.

    Args:
        path: Image file.
        short_side: Length of the short side in pixels, before rounding down.
        multiple: Number of pixels that both sides must be a multiple of.
        fixed: Size (H, W) to which the image is resized and cropped at its centre instead, None for
            none. BEiT takes images of one size only.

    Returns:
        Image (H, W, 3) uint8, RGB.

    Raises:
        InputError: If the image cannot be read, is too elongated, or would be smaller than a patch.
    """
    image = read_file(path, "replace the file, or leave it out")
    if max(image.shape[:2]) > MOST_ELONGATED * min(image.shape[:2]):
        raise InputError(
            f"{path} has {image.shape[1]} x {image.shape[0]} pixels, and the short side is resized "
            f"to {short_side}: crop it until a side is at most {MOST_ELONGATED} times the other"
        )
    if fixed is not None:
        return np.ascontiguousarray(_cropped(image, fixed)[:, :, ::-1])
    scale = short_side / min(image.shape[:2])
    height, width = (round(side * scale) // multiple * multiple for side in image.shape[:2])
    if min(height, width) < multiple:
        raise InputError(
            f"--size {short_side}: the backbone's patches are {multiple} pixels; use a larger size"
        )
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image[:, :, ::-1])


def plot_attention(image: np.ndarray, maps: np.ndarray, out: Path, *, heads: bool) -> Path:
    """Plot the image, the mean of the maps, and the map of each head.

    Args:
        image: Image (H, W, 3) uint8, RGB.
        maps: Attention (heads, h, w), or saliency (1, h, w).
        out: File to write.
        heads: Whether the maps are those of attention heads.

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
    """Overlay a map on a dimmed grey version of an image.

    Args:
        image: Image (H, W, 3) uint8, RGB.
        map_: Map (h, w); its minimum is drawn dark, its maximum bright.

    Returns:
        Image (H, W, 3) uint8, RGB.
    """
    size = image.shape[1], image.shape[0]
    spread = float(map_.max() - map_.min())
    # A constant map highlights nothing.
    scaled = (map_ - map_.min()) / spread if spread > 0 else np.zeros_like(map_)
    heat = cv2.resize(scaled.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    colours = plt.get_cmap("inferno")(heat)[:, :, :3]
    grey = image.mean(axis=2, keepdims=True) / 255
    return (255 * (0.3 * grey + 0.7 * colours)).round().clip(0, 255).astype(np.uint8)


def _cropped(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image until it covers a size (H, W), and crop it at its centre."""
    scale = max(wanted / side for wanted, side in zip(size, image.shape[:2], strict=True))
    height, width = (
        max(wanted, round(side * scale)) for wanted, side in zip(size, image.shape[:2], strict=True)
    )
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return image[top : top + size[0], left : left + size[1]]


def _patch_size(backbone: nn.Module) -> int:
    inner = getattr(backbone, "timm_model", backbone)
    size = getattr(inner.patch_embed, "patch_size", 16)
    return size if isinstance(size, int) else size[0]
