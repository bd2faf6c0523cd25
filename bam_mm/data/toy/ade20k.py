"""Writer of the toy world's segmentation data in the folder layout of ADE20K."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from bam_mm.data.toy.dense import count_of, dense_scenes
from bam_mm.data.toy.image_folder import encode_jpeg
from bam_mm.data.toy.render import label_map

FOLDERS = {"train": "training", "val": "validation"}
"""Names of the splits' folders in ADE20K."""


def write_ade20k(
    root: Path, *, seed: int, scale: float, progress: Callable[[str, int], None]
) -> dict[str, int]:
    """Write ``root/{images,annotations}/{training,validation}/NNNNN.{jpg,png}``.

    Maps are 8-bit PNG files. As in ADE20K, 0 is reserved for unlabelled pixels and classes count
    from 1: 1 is the background, 2 + i is class i of the things.

    Args:
        root: Folder to write to.
        seed: Seed of the world.
        scale: Factor on the number of images; each split has at least four.
        progress: Function that is called as ``progress(split, number)`` after every image.

    Returns:
        Number of images in each split.
    """
    counts = {}
    for split, folder in FOLDERS.items():
        counts[split] = count_of(split, scale)
        for kind in ("images", "annotations"):
            (root / kind / folder).mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(dense_scenes(split, counts[split], seed)):
            image, ids = scene.render()
            labels = label_map(scene.scene, ids) + 1
            name = f"{number:05d}"
            (root / "images" / folder / f"{name}.jpg").write_bytes(encode_jpeg(image))
            (root / "annotations" / folder / f"{name}.png").write_bytes(encode_map(labels))
            progress(split, number + 1)
    return counts


def encode_map(labels: np.ndarray) -> bytes:
    """Encode an (H, W) map of labels from 0 to 255 as a grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(labels.astype(np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()
