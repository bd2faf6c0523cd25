"""Writer of the toy world's videos in the folder layout of DAVIS-2017."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import pi, sin
from pathlib import Path

import numpy as np

from bam_mm.data.indexed_png import write_indexed
from bam_mm.data.toy.image_folder import encode_jpeg
from bam_mm.data.toy.render import render
from bam_mm.data.toy.scene import (
    CLASS_NAMES,
    Background,
    Scene,
    Thing,
    draw_background,
    draw_thing,
)

SPLITS = {"train": 4, "val": 12}
"""Number of videos in each split at scale 1."""

FRAMES = 12
HEIGHT, WIDTH = 120, 200
"""Size of a frame in pixels."""

RESOLUTION = "480p"
"""Name of the subfolder, as in DAVIS, so that readers need no option for the toy world."""

LEAST_VISIBLE = 0.6
"""Fraction of every object that must be visible in the first frame."""

GAIN, OFFSET = 0.4, 0.2
"""Largest relative change of a frame's contrast, and largest shift of its grey values in [0, 1].

The gain equals the contrast jitter of the toy pretraining.
"""


@dataclass(frozen=True)
class Motion:
    """Motion and deformation of one thing over a video.

    Attributes:
        drift: Movement of the centre (y, x) from the first frame to the last, as a fraction of the
            frame.
        swing: Amplitude of the centre's oscillation (y, x), as a fraction of the frame.
        stretch: Amplitudes of the size, the aspect (both relative) and the angle (in radians).
        fade: Amount by which the light tone darkens, as a grey value in [0, 1]. The dark tone
            lightens by half of it.
        periods: Numbers of oscillations over the video: of the centre, the three stretches and the
            fading.
    """

    drift: tuple[float, float]
    swing: tuple[float, float]
    stretch: tuple[float, float, float]
    fade: float
    periods: tuple[float, float, float, float, float]

    def at(self, thing: Thing, time: float) -> Thing:
        """Return the moved and deformed thing at a time in [0, 1]; at 0 it is ``thing`` itself."""
        centre, *waves, fading = (sin(2 * pi * p * time) for p in self.periods)
        fade = self.fade * abs(fading)
        size, aspect, angle = (a * w for a, w in zip(self.stretch, waves, strict=True))
        return replace(
            thing,
            y=_reflect(thing.y + self.drift[0] * time + self.swing[0] * centre),
            x=_reflect(thing.x + self.drift[1] * time + self.swing[1] * centre),
            size=thing.size * (1 + size),
            aspect=thing.aspect * (1 + aspect),
            angle=thing.angle + angle,
            light=thing.light - fade,
            dark=thing.dark + fade / 2,
        )


@dataclass(frozen=True)
class Clip:
    """A moving scene under changing light.

    Tones change as well as forms, and every frame has its own exposure. With constant tones,
    untrained features would match pixels to pixels, and pretraining could not improve the result.

    Attributes:
        background: Background of the first frame.
        things: Things of the first frame, from back to front.
        motions: Motion of each thing.
        dimming: Amplitude of the background's brightness, as a grey value in [0, 1].
        light: Seed of the exposures.
    """

    background: Background
    things: tuple[Thing, ...]
    motions: tuple[Motion, ...]
    dimming: float
    light: int

    def scene(self, frame: int, frames: int = FRAMES) -> Scene:
        """Return the scene of a frame, with new background noise in each frame."""
        time = frame / max(frames - 1, 1)
        things = (m.at(t, time) for m, t in zip(self.motions, self.things, strict=True))
        background = replace(
            self.background,
            level=self.background.level + self.dimming * sin(2 * pi * time),
            seed=self.background.seed + frame,
        )
        return Scene(background, tuple(things))

    def exposure(self, frame: int) -> tuple[float, float]:
        """Return a frame's gain around mid-grey and its offset, drawn separately for each frame."""
        rng = np.random.default_rng([self.light, frame])
        return rng.uniform(1 - GAIN, 1 + GAIN), rng.uniform(-OFFSET, OFFSET)

    def frame(self, frame: int, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
        """Render a frame with its exposure; see :func:`~bam_mm.data.toy.render.render`.

        Returns:
            The (HEIGHT, WIDTH, 3) uint8 RGB image, and the (HEIGHT, WIDTH) uint8 map of its things.
        """
        image, ids = render(self.scene(frame, frames), HEIGHT, WIDTH)
        gain, offset = self.exposure(frame)
        exposed = (image / 255.0 - 0.5) * gain + 0.5 + offset
        return np.rint(exposed.clip(0.0, 1.0) * 255.0).astype(np.uint8), ids


def draw_clip(rng: np.random.Generator) -> Clip:
    """Draw a clip of two to four things of different classes, all visible at the start."""
    count = int(rng.integers(2, 5))
    labels = rng.choice(len(CLASS_NAMES), size=count, replace=False)
    background = draw_background(rng)
    while True:
        things = tuple(draw_thing(rng, int(label), size=(0.2, 0.3)) for label in labels)
        if _all_visible(Scene(background, things)):
            break
    motions = tuple(_draw_motion(rng) for _ in things)
    dimming, light = rng.uniform(-0.25, 0.25), int(rng.integers(2**31))
    return Clip(background, things, motions, dimming, light)


def clips(split: str, count: int, seed: int) -> Iterator[Clip]:
    """Yield the clips of a split; a larger world starts with the clips of a smaller one."""
    number_of_split = list(SPLITS).index(split)
    for number in range(count):
        # The 2 separates these random streams from those of the images.
        yield draw_clip(np.random.default_rng([seed, 2, number_of_split, number]))


def write_davis(
    root: Path, *, seed: int, scale: float, progress: Callable[[str, int], None]
) -> dict[str, int]:
    """Write ``root/{JPEGImages,Annotations}/480p/<video>/NNNNN.*`` and ``root/ImageSets/2017``.

    Args:
        root: Folder to write to.
        seed: Seed of the world.
        scale: Factor on the number of videos; each split has at least two.
        progress: Function that is called as ``progress(split, number)`` after every video.

    Returns:
        Number of videos in each split.
    """
    lists = root / "ImageSets" / "2017"
    lists.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, full in SPLITS.items():
        counts[split] = max(2, round(full * scale))
        names = []
        for number, clip in enumerate(clips(split, counts[split], seed)):
            names.append(f"{split}-{number:03d}")
            write_clip(root, names[-1], clip)
            progress(split, number + 1)
        (lists / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return counts


def write_clip(root: Path, name: str, clip: Clip, frames: int = FRAMES) -> None:
    """Write the frames and annotations of a clip; ids number its things from back to front."""
    images = root / "JPEGImages" / RESOLUTION / name
    annotations = root / "Annotations" / RESOLUTION / name
    images.mkdir(parents=True, exist_ok=True)
    annotations.mkdir(parents=True, exist_ok=True)
    for frame in range(frames):
        image, ids = clip.frame(frame, frames)
        (images / f"{frame:05d}.jpg").write_bytes(encode_jpeg(image))
        write_indexed(annotations / f"{frame:05d}.png", ids)


def _draw_motion(rng: np.random.Generator) -> Motion:
    direction, way = rng.uniform(0, 2 * pi), rng.uniform(0.25, 0.5)
    return Motion(
        drift=(0.6 * way * float(np.sin(direction)), way * float(np.cos(direction))),
        swing=(rng.uniform(0, 0.05), rng.uniform(0, 0.05)),
        stretch=(rng.uniform(0.05, 0.2), rng.uniform(0.05, 0.2), rng.uniform(0.1, 0.5)),
        fade=rng.uniform(0.1, 0.3),
        periods=tuple(rng.uniform(0.5, 1.5, size=5)),
    )


def _reflect(place: float) -> float:
    # A thing that would leave the frame is reflected at its edge.
    return min(max(place, -place), 2 - place)


def _all_visible(scene: Scene) -> bool:
    _, together = render(scene, HEIGHT, WIDTH)
    for number, thing in enumerate(scene.things, start=1):
        _, alone = render(Scene(scene.background, (thing,)), HEIGHT, WIDTH)
        if (together == number).sum() < LEAST_VISIBLE * alone.sum():
            return False
    return True
