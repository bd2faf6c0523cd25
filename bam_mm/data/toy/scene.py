"""What is in a toy scene, and how scenes are drawn at random.

A scene knows nothing of pixels or file formats: :mod:`~bam_mm.data.toy.render` turns it into an
image with the map of its things, and one writer a format turns those into files. So every task
sees the same world.

The world is built so that pretraining can be *seen* to work. A thing's class is its shape together
with its texture; tones, place, size and a small turn vary freely, and the background is a grey
gradient with noise. Random colours are left out on purpose: colour survives the crops, so it would
tell images apart without any of what names their class, and the loss would fall while the features
stay useless.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

CLASSES: tuple[tuple[str, str], ...] = (
    ("disk", "plain"),
    ("square", "stripes"),
    ("triangle", "checker"),
    ("diamond", "dots"),
    ("star", "grid"),
    ("cross", "diagonal"),
    ("ring", "zigzag"),
    ("hexagon", "rings"),
    ("square", "bricks"),
)
"""(shape, texture) of each class; the index is the label."""

CLASS_NAMES: tuple[str, ...] = tuple(f"{texture}_{shape}" for shape, texture in CLASSES)


@dataclass(frozen=True)
class Thing:
    """One object of a scene.

    Attributes:
        label: Index into ``CLASSES``.
        y: Row of the centre, as a fraction of the height.
        x: Column of the centre, as a fraction of the width.
        size: Half extent, as a fraction of the shorter side.
        aspect: Width over height.
        angle: Turn in radians.
        light: Grey of the light tone, 0 to 1.
        dark: Grey of the dark tone, 0 to 1.
        frequency: Periods of the texture per half extent.
        phase: Shift of the texture (y, x), in half extents.
    """

    label: int
    y: float
    x: float
    size: float
    aspect: float
    angle: float
    light: float
    dark: float
    frequency: float
    phase: tuple[float, float]


@dataclass(frozen=True)
class Background:
    """A grey gradient with noise.

    Attributes:
        level: Grey at the centre, 0 to 1.
        slope: Change of grey over half the height and half the width.
        noise: Standard deviation of the noise, in grey levels of 1.
        seed: Seed of the noise.
    """

    level: float
    slope: tuple[float, float]
    noise: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """A background and things, from back to front."""

    background: Background
    things: tuple[Thing, ...] = field(default_factory=tuple)


def draw_thing(
    rng: np.random.Generator, label: int, *, size: tuple[float, float] = (0.26, 0.42)
) -> Thing:
    """Draw a thing of a class.

    Args:
        rng: Source of randomness.
        label: Index into ``CLASSES``.
        size: Range of the half extent, as a fraction of the shorter side.
    """
    half = rng.uniform(*size)
    margin = min(0.5, half * 0.8)
    return Thing(
        label=int(label),
        y=rng.uniform(margin, 1 - margin),
        x=rng.uniform(margin, 1 - margin),
        size=half,
        aspect=rng.uniform(0.85, 1.18),
        angle=rng.uniform(-0.35, 0.35),
        light=rng.uniform(0.7, 1.0),
        dark=rng.uniform(0.0, 0.25),
        frequency=rng.uniform(1.6, 2.2),
        phase=(rng.uniform(-1, 1), rng.uniform(-1, 1)),
    )


def draw_background(rng: np.random.Generator) -> Background:
    """Draw a grey gradient with noise."""
    return Background(
        level=rng.uniform(0.35, 0.6),
        slope=(rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)),
        noise=0.03,
        seed=int(rng.integers(2**31)),
    )


def draw_object_scene(rng: np.random.Generator, label: int) -> Scene:
    """Draw a scene with one thing, as in a classification data set."""
    return Scene(draw_background(rng), (draw_thing(rng, label),))
