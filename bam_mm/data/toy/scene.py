"""Contents of a toy scene, and random draws of scenes.

A scene does not depend on pixels or file formats: :mod:`~bam_mm.data.toy.render` converts it to an
image and a map of its things, and one writer per format converts these to files. Every task
therefore sees the same world.

The world is designed so that the effect of pretraining is visible. A thing's class is its shape
together with its texture; tones, place, size and a small rotation vary freely, and the background
is a grey gradient with noise. Colours are left out on purpose: random colours survive the crops, so
they would distinguish images without any information about their class, and the loss would decrease
while the features remain useless.
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
"""Shape and texture of each class; the index is the label."""

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
        angle: Rotation in radians.
        light: Grey value of the light tone, from 0 to 1.
        dark: Grey value of the dark tone, from 0 to 1.
        frequency: Number of the texture's periods per half extent.
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
        level: Grey value at the centre, from 0 to 1.
        slope: Changes of the grey value over half the height and over half the width.
        noise: Standard deviation of the noise, on the scale of grey values from 0 to 1.
        seed: Seed of the noise.
    """

    level: float
    slope: tuple[float, float]
    noise: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """A background and its things, from back to front."""

    background: Background
    things: tuple[Thing, ...] = field(default_factory=tuple)


def draw_thing(
    rng: np.random.Generator, label: int, *, size: tuple[float, float] = (0.26, 0.42)
) -> Thing:
    """Draw a thing of a class.

    Args:
        rng: Random number generator.
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
