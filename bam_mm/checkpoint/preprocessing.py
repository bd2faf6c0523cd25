"""The preprocessing that a model was trained with: normalisation, size, resizing and crop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bam_mm.checkpoint.geometry import GEOMETRY_KEYS, Geometry

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Mean of red, green and blue over ImageNet, for pixel values in [0, 255]."""

IMAGENET_STD = (58.395, 57.12, 57.375)
"""Standard deviation of red, green and blue over ImageNet, for pixel values in [0, 255]."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a model sees it.

    Attributes:
        mean: Mean of each channel, for pixel values in [0, 255], in the order of ``channels``.
        std: Standard deviation of each channel, for pixel values in [0, 255], in the same order.
        source: Where mean and standard deviation come from.
        channels: Order in which the model takes the channels, ``rgb`` or ``bgr``.
        geometry: Size, resizing and crop of test images; None if they are not known.
        geometry_source: Where the geometry comes from.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    channels: str = "rgb"
    geometry: Geometry | None = None
    geometry_source: str = ""

    @property
    def is_imagenet(self) -> bool:
        """Whether mean and standard deviation are ImageNet's."""
        return self.same_normalisation(IMAGENET)

    def same_normalisation(self, other: Preprocessing) -> bool:
        """Return whether another preprocessing normalises in the same way."""
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std), strict=True)
        return self.channels == other.channels and all(
            math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for a, b in pairs
        )

    def facts(self) -> dict[str, Any]:
        """Return plain values for records: all attributes, with those of the geometry."""
        geometry = dict.fromkeys((*GEOMETRY_KEYS, "short_side"))
        if self.geometry:
            geometry = asdict(self.geometry)
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": self.channels,
            "source": self.source,
            **geometry,
            "geometry_source": self.geometry_source,
        }

    def describe_normalisation(self) -> str:
        """Return mean, standard deviation and order of the channels as text."""
        mean, std = (
            ", ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std)
        )
        return f"mean ({mean}), std ({std}), {self.channels.upper()}"

    def __str__(self) -> str:
        images = self.geometry or "images as the config's pipeline makes them"
        return (
            f"{self.describe_normalisation()}, from {self.source}; {images}"
            + f", from {self.geometry_source}" * bool(self.geometry_source)
        )


IMAGENET = Preprocessing(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's, the default")
"""ImageNet's normalisation, for models that state none."""


def from_facts(facts: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing with the values of :meth:`Preprocessing.facts`."""
    geometry = {key: facts[key] for key in GEOMETRY_KEYS if facts.get(key) is not None}
    return Preprocessing(
        tuple(map(float, facts["mean"])),
        tuple(map(float, facts["std"])),
        str(facts.get("source", "")),
        str(facts.get("channels", "rgb")),
        Geometry(**geometry) if geometry else None,
        str(facts.get("geometry_source", "")),
    )
