"""Writer of the toy world's image folders in the layout of ImageNet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from bam_mm.data.toy.render import render
from bam_mm.data.toy.scene import CLASS_NAMES, Scene, draw_object_scene

SPLITS = {"train": 4000, "val": 1000}
"""Number of images in each split at scale 1."""

IMAGE_SIZE = 64
"""Height and width of an image in pixels."""


def scenes(split: str, count: int, seed: int) -> Iterator[tuple[int, Scene]]:
    """Yield the (label, scene) pairs of a split, with the classes in turn.

    Every scene has its own random stream, derived from (seed, split, number), so that a larger
    world starts with the images of a smaller one.
    """
    number_of_split = list(SPLITS).index(split)
    for number in range(count):
        rng = np.random.default_rng([seed, number_of_split, number])
        label = number % len(CLASS_NAMES)
        yield label, draw_object_scene(rng, label)


def write_image_folder(
    root: Path, *, seed: int, scale: float, progress: Callable[[str, int], None]
) -> dict[str, int]:
    """Write ``root/{train,val}/<class>/NNNNN.jpg``.

    Args:
        root: Folder to write to.
        seed: Seed of the world.
        scale: Factor on the number of images; each class has at least two in each split.
        progress: Function that is called as ``progress(split, number)`` after every image.

    Returns:
        Number of images in each split.
    """
    counts = {}
    for split, full in SPLITS.items():
        counts[split] = max(2 * len(CLASS_NAMES), round(full * scale))
        for name in CLASS_NAMES:
            (root / split / name).mkdir(parents=True, exist_ok=True)
        for number, (label, scene) in enumerate(scenes(split, counts[split], seed)):
            image, _ = render(scene, IMAGE_SIZE, IMAGE_SIZE)
            path = root / split / CLASS_NAMES[label] / f"{number:05d}.jpg"
            path.write_bytes(encode_jpeg(image))
            progress(split, number + 1)
    return counts


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encode an (H, W, 3) uint8 RGB image as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()
