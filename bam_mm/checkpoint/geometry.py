"""Size, resizing and crop of test images, as the steps of an mmpretrain pipeline state them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bam_mm.variables.entries import kind_of

RESIZING = ("ResizeEdge", "Resize", "CenterCrop", "EfficientNetCenterCrop")
"""Names of the steps that determine the size of a test image."""

DEFAULT_SIZE = 224
"""Size of ImageNet's crops in pixels."""

DEFAULT_SHORT_SIDES = (224, 256)
"""Short sides in pixels to which the configs resize ImageNet's images before the crop."""


GEOMETRY_KEYS = ("size", "crop_fraction", "interpolation", "squash")
"""Arguments of a geometry."""


@dataclass(frozen=True)
class Geometry:
    """Size, resizing and crop of test images. Two are equal if they make the same pixels.

    Attributes:
        size: Side of the centre crop in pixels.
        crop_fraction: Size of the crop divided by the short side of the resized image.
        interpolation: Name of the interpolation, such as ``bicubic``.
        squash: Whether the image is resized to a square, instead of keeping its aspect ratio.
        short_side: Short side of the resized image in pixels, rounded down as timm does.
    """

    size: int
    crop_fraction: float = field(default=0.875, compare=False)
    interpolation: str = "bicubic"
    squash: bool = False
    short_side: int = field(init=False)

    def __post_init__(self) -> None:
        short_side = math.floor(self.size / self.crop_fraction + 1e-6)
        object.__setattr__(self, "short_side", short_side)

    def __str__(self) -> str:
        side = "squashed to a square of" if self.squash else "short side"
        return (
            f"{side} {self.short_side} px ({self.interpolation}), centre crop {self.size} px "
            f"({self.crop_fraction:.3g})"
        )

    def steps(self) -> list[dict[str, Any]]:
        """Return the steps of mmpretrain that resize and crop an image."""
        filters = dict(interpolation=self.interpolation, backend="pillow")
        resize: dict[str, Any] = dict(type="ResizeEdge", scale=self.short_side, edge="short")
        if self.squash:
            resize = dict(type="Resize", scale=(self.short_side, self.short_side))
        return [{**resize, **filters}, dict(type="CenterCrop", crop_size=self.size)]


def read_geometry(pipeline: Sequence[Mapping[str, Any]] | None) -> Geometry | None:
    """Read size, resizing and crop from the steps of a test pipeline.

    Args:
        pipeline: Configs of the steps.

    Returns:
        The geometry; None if the pipeline does not resize to one size, or in another way.
    """
    steps = [step for step in pipeline or () if kind_of(step) in RESIZING]
    kinds = tuple(kind_of(step) for step in steps)
    if kinds == ("EfficientNetCenterCrop",):
        size = _side(steps[0].get("crop_size"))
        padding = steps[0].get("crop_padding", 32)
        return _geometry(size, size and size + padding, steps[0], default="bicubic")
    if kinds not in (("ResizeEdge", "CenterCrop"), ("Resize", "CenterCrop"), ("Resize",)):
        return None
    resize, crop = steps[0], steps[-1]
    squash = kinds[0] == "Resize"
    if resize.get("keep_ratio") or resize.get("edge", "short") != "short":
        return None
    side = _side(resize.get("scale"))
    size = side if len(steps) == 1 else _side(crop.get("crop_size"))
    return _geometry(size, side, resize, squash=squash)


def is_default(pipeline: Sequence[Mapping[str, Any]] | None) -> bool:
    """Return whether a test pipeline has ImageNet's size, which gives way to the model's own."""
    found = read_geometry(pipeline)
    return (
        found is not None
        and not found.squash
        and found.size == DEFAULT_SIZE
        and found.short_side in DEFAULT_SHORT_SIDES
    )


def set_geometry(pipeline: Sequence[Any], geometry: Geometry) -> list[Any]:
    """Return the steps of a test pipeline with another size, resizing and crop.

    The new steps take the place of the old ones, or stand before the last step.
    """
    kept = [step for step in pipeline if kind_of(step) not in RESIZING]
    places = [n for n, step in enumerate(pipeline) if kind_of(step) in RESIZING]
    place = places[0] if places else len(kept) - 1
    return [*kept[:place], *geometry.steps(), *kept[place:]]


def _geometry(
    size: int | None,
    side: int | None,
    step: Mapping[str, Any],
    *,
    squash: bool = False,
    default: str = "bilinear",
) -> Geometry | None:
    if not size or not side or size > side:  # A larger crop would be padded.
        return None
    return Geometry(size, size / side, step.get("interpolation", default), squash)


def _side(value: Any) -> int | None:
    """Return the side of a square, None for other shapes."""
    sides = set(value) if isinstance(value, Sequence) and not isinstance(value, str) else {value}
    side = sides.pop() if len(sides) == 1 else None
    return side if isinstance(side, int) and side > 0 else None
