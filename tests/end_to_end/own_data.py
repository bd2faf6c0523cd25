"""Data in the folders of docs/your_data.md, for tests of the page's own configs and commands.

The folders of examples/, with checkpoints of known weights, are those of ``own_project``.
"""

import json
import shutil

import cv2
import numpy as np
from PIL import Image

from bam_mm.data.indexed_png import write_indexed
from bam_mm.data.toy.ade20k import write_ade20k
from bam_mm.data.toy.coco import write_coco
from bam_mm.data.toy.davis import clips
from tests.end_to_end.toy_as_own import with_categories, write_maps

CATEGORIES = {7: "pear", 21: "leaf", 40: "apple"}
FRAMES = 4


def write_all(root):
    """Write every folder and file of the page below a folder."""
    _folders(root / "data/birds", {"learn": 10, "check": 4}, ["sparrow", "wren"])
    _folders(root / "data/plants", {"train": 2, "val": 1}, [f"p{n:03d}" for n in range(300)])
    names = "".join(f"plant {n}\n" for n in range(300))
    (root / "data/plants/names.txt").write_text(names)
    _orchard(root / "data/orchard", root / "coco")
    _maps(root / "data/street", root / "ade", ("photos", "masks"), ("north", "south"), first=0)
    folders = ("images", "annotations")
    _maps(root / "data/fields", root / "ade", folders, ("train", "val"), first=1)
    _videos(root)


def _folders(root, splits, classes):
    """Images of 32 px whose class is a colour."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (len(classes), 3))
    for split, number in splits.items():
        for colour, name in zip(colours, classes, strict=True):
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                noise = rng.normal(0, 30, (32, 32, 3))
                pixels = (colour + noise).clip(0, 255).astype(np.uint8)
                digits = 3 if number > 3 else 1
                Image.fromarray(pixels).save(root / split / name / f"{index:0{digits}d}.jpg")


def _orchard(root, toy):
    """The nine classes of the toy world as three, whose ids have gaps."""
    write_coco(toy, seed=0, scale=0.01, progress=lambda *_: None)
    (root / "labels").mkdir(parents=True)
    (root / "photos").mkdir()
    pairs = list(CATEGORIES.items())
    three = {number: pairs[number % 3] for number in range(1, 10)}
    for split, own in (("train", "spring"), ("val", "summer")):
        content = json.loads((toy / f"annotations/instances_{split}.json").read_text())
        (root / f"labels/{own}.json").write_text(json.dumps(with_categories(content, three)))
        shutil.move(toy / split, root / "photos" / own)


def _maps(root, toy, kinds, splits, *, first):
    """Four classes that count from ``first``; if that is 1, a frame of 0 is unlabelled."""
    if not toy.is_dir():
        write_ade20k(toy, seed=0, scale=0.01, progress=lambda *_: None)

    def relabel(toy_ids):
        ids = toy_ids % 4 + first
        ids[:2] = 0 if first else ids[:2]
        ids[0, 8:16] = np.arange(8) % 4 + first
        return ids

    for source, own in zip(("training", "validation"), splits, strict=True):
        shutil.copytree(toy / "images" / source, root / kinds[0] / own)
        write_maps(toy / "annotations" / source, root / kinds[1] / own, relabel)


def _videos(root):
    [clip] = clips("val", 1, seed=0)
    frames, masks = zip(*(clip.frame(t, FRAMES) for t in range(FRAMES)), strict=True)
    height, width = masks[0].shape
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(root / "film.avi"), code, 10, (width, height))
    for frame in frames:
        writer.write(frame[:, :, ::-1])
    writer.release()
    write_indexed(root / "film_mask.png", masks[0])
    (root / "data/ride").mkdir()
    for number, frame in zip((2, 10, 11, 12), frames, strict=True):
        Image.fromarray(frame).save(root / f"data/ride/frame_{number}.jpg")
    write_indexed(root / "data/ride_mask.png", masks[2])
