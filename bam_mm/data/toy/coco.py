"""Writer of the toy world's detection data as COCO instance JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bam_mm.data.outlines import box_of, segmentation_of
from bam_mm.data.toy.dense import HEIGHT, SPLITS, WIDTH, DenseScene, count_of, dense_scenes
from bam_mm.data.toy.image_folder import encode_jpeg
from bam_mm.data.toy.scene import CLASS_NAMES


def write_coco(
    root: Path, *, seed: int, scale: float, progress: Callable[[str, int], None]
) -> dict[str, int]:
    """Write ``root/{train,val}/NNNNN.jpg`` and ``root/annotations/instances_{train,val}.json``.

    Args:
        root: Folder to write to.
        seed: Seed of the world.
        scale: Factor on the number of images; each split has at least four.
        progress: Function that is called as ``progress(split, number)`` after every image.

    Returns:
        Number of images in each split.
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    counts = {}
    for split in SPLITS:
        counts[split] = count_of(split, scale)
        (root / split).mkdir(exist_ok=True)
        images: list[dict] = []
        annotations: list[dict] = []
        for number, scene in enumerate(dense_scenes(split, counts[split], seed)):
            image, ids = scene.render()
            name = f"{number:05d}.jpg"
            (root / split / name).write_bytes(encode_jpeg(image))
            images.append(dict(id=number + 1, file_name=name, height=HEIGHT, width=WIDTH))
            for entry in annotations_of(scene, ids):
                annotations.append(dict(id=len(annotations) + 1, image_id=number + 1, **entry))
            progress(split, number + 1)
        content = dict(
            info=dict(description="toy world"),
            images=images,
            annotations=annotations,
            categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASS_NAMES)],
        )
        path = root / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))
    return counts


def annotations_of(scene: DenseScene, ids: np.ndarray) -> list[dict]:
    """Return the annotations of a scene, without the ids of annotation and image.

    Args:
        scene: Scene to annotate.
        ids: (H, W) map of its things, as returned by
            :meth:`~bam_mm.data.toy.dense.DenseScene.render`.

    Returns:
        ``category_id``, ``bbox`` (x, y, width, height), ``area`` in pixels, ``segmentation`` and
        ``iscrowd`` of each object, for its visible part.
    """
    found = []
    for label, members in scene.objects:
        mask = np.isin(ids, [member + 1 for member in members])
        crowd = len(members) > 1
        found.append(
            dict(
                category_id=label + 1,
                bbox=box_of(mask),
                area=int(mask.sum()),
                segmentation=segmentation_of(mask, crowd=crowd),
                iscrowd=int(crowd),
            )
        )
    return found
