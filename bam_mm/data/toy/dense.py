"""Scenes of the toy world for detection and segmentation, with several things that may overlap.

Both formats (:mod:`~bam_mm.data.toy.coco`, :mod:`~bam_mm.data.toy.ade20k`) contain the same scenes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bam_mm.data.toy.render import render
from bam_mm.data.toy.scene import CLASS_NAMES, Scene, Thing, draw_background, draw_thing

SPLITS = {"train": 400, "val": 100}
"""Number of images in each split at scale 1."""

HEIGHT, WIDTH = 96, 128
"""Size of an image in pixels."""

THING = (0.2, 0.32)
"""Range of a thing's half extent, as a fraction of the shorter side.

It corresponds to 19 to 31 pixels, as in the images with one thing.
"""

CROWD = (0.07, 0.09)
"""Range of the half extent of a crowd's things, as a fraction of the shorter side."""

CROWD_PROBABILITY = 0.1

LEAST_VISIBLE = 0.4
"""Fraction of every thing that must be visible."""


@dataclass(frozen=True)
class DenseScene:
    """A scene and its objects to annotate.

    Attributes:
        scene: Background and things, from back to front.
        crowd: Number of things at the end that form one crowd of one class; 0 for no crowd.
    """

    scene: Scene
    crowd: int

    @property
    def objects(self) -> list[tuple[int, list[int]]]:
        """Label and indices into the scene's things of every object, with a crowd last."""
        things = self.scene.things
        alone = [(t.label, [i]) for i, t in enumerate(things[: len(things) - self.crowd])]
        crowd = list(range(len(alone), len(things)))
        return alone + ([(things[-1].label, crowd)] if crowd else [])

    def render(self) -> tuple[np.ndarray, np.ndarray]:
        """Render image and map of things; see :func:`~bam_mm.data.toy.render.render`."""
        return render(self.scene, HEIGHT, WIDTH)


def draw_dense_scene(rng: np.random.Generator) -> DenseScene:
    """Draw a scene of one to four things; one in ten scenes has a crowd of small ones in front."""
    background = draw_background(rng)
    count = int(rng.integers(1, 5))
    with_crowd = rng.random() < CROWD_PROBABILITY
    while True:
        labels = rng.integers(len(CLASS_NAMES), size=count)
        things = tuple(draw_thing(rng, label, size=THING) for label in labels)
        crowd = _draw_crowd(rng) if with_crowd else ()
        scene = Scene(background, things + crowd)
        if _all_visible(scene):
            return DenseScene(scene, len(crowd))


def dense_scenes(split: str, count: int, seed: int) -> Iterator[DenseScene]:
    """Yield the scenes of a split; a larger world starts with the scenes of a smaller one."""
    number_of_split = list(SPLITS).index(split)
    for number in range(count):
        # The 3 separates these random streams from those of the images and the videos.
        yield draw_dense_scene(np.random.default_rng([seed, 3, number_of_split, number]))


def count_of(split: str, scale: float) -> int:
    """Return the number of images in a split, at least four."""
    return max(4, round(SPLITS[split] * scale))


def _draw_crowd(rng: np.random.Generator) -> tuple[Thing, ...]:
    label, number = int(rng.integers(len(CLASS_NAMES))), int(rng.integers(4, 7))
    y, x = rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.6)
    places = rng.uniform(0, 0.25, size=(number, 2))
    small = (draw_thing(rng, label, size=CROWD) for _ in range(number))
    return tuple(_moved(t, y + dy, x + dx) for t, (dy, dx) in zip(small, places, strict=True))


def _moved(thing: Thing, y: float, x: float) -> Thing:
    return Thing(**{**vars(thing), "y": y, "x": x})


def _all_visible(scene: Scene) -> bool:
    _, together = render(scene, HEIGHT, WIDTH)
    for number, thing in enumerate(scene.things, start=1):
        _, alone = render(Scene(scene.background, (thing,)), HEIGHT, WIDTH)
        if (together == number).sum() < LEAST_VISIBLE * alone.sum():
            return False
    return True
