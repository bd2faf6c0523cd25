"""The toy world's detection and segmentation data: the same scenes, correct annotations."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from bam_mm.data.toy import CLASS_NAMES
from bam_mm.data.toy.ade20k import write_ade20k
from bam_mm.data.toy.coco import write_coco
from bam_mm.data.toy.dense import HEIGHT, LEAST_VISIBLE, WIDTH, dense_scenes
from bam_mm.data.toy.render import render
from bam_mm.data.toy.scene import Scene


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("dense")
    for name, write in (("coco", write_coco), ("ade20k", write_ade20k)):
        counts = write(out / name, seed=0, scale=0.1, progress=lambda *_: None)
        assert counts == {"train": 40, "val": 10}
    return out


def test_annotations_agree_with_the_pixels(world):
    """Masks read by pycocotools equal the things of the maps; areas and boxes are the masks'."""
    data = COCO(world / "coco/annotations/instances_train.json")
    assert [c["name"] for c in data.loadCats(data.getCatIds())] == list(CLASS_NAMES)
    crowds, holes = 0, 0
    for number in range(40):
        labels = np.array(Image.open(world / f"ade20k/annotations/training/{number:05d}.png"))
        assert labels.shape == (HEIGHT, WIDTH) and labels.min() == 1 and labels.max() <= 10
        found = np.ones_like(labels)
        for annotation in data.loadAnns(data.getAnnIds(imgIds=number + 1)):
            mask = data.annToMask(annotation).astype(bool)
            assert (found[mask] == 1).all()
            found[mask] = annotation["category_id"] + 1
            assert annotation["area"] == mask.sum() > 0
            x, y, w, h = annotation["bbox"]
            assert mask[y : y + h, x : x + w].sum() == mask.sum()
            assert mask[y].any() and mask[y + h - 1].any()
            assert mask[:, x].any() and mask[:, x + w - 1].any()
            crowds += annotation["iscrowd"]
            holes += isinstance(annotation["segmentation"], dict)
            assert annotation["iscrowd"] <= isinstance(annotation["segmentation"], dict)
        assert (found == labels).all()
    assert 0 < crowds < holes < 40


def test_both_formats_show_the_same_images(world):
    for ours, theirs in (("train", "training"), ("val", "validation")):
        first, second = world / f"coco/{ours}", world / f"ade20k/images/{theirs}"
        names = sorted(p.name for p in first.iterdir())
        assert names == sorted(p.name for p in second.iterdir())
        assert all((first / n).read_bytes() == (second / n).read_bytes() for n in names)


def test_every_thing_is_visible_and_a_larger_world_starts_with_a_smaller_one():
    scenes = list(dense_scenes("train", 12, seed=1))
    assert scenes[:5] == list(dense_scenes("train", 5, seed=1))
    assert scenes != list(dense_scenes("val", 12, seed=1))
    for dense in scenes:
        _, ids = dense.render()
        for number, thing in enumerate(dense.scene.things, start=1):
            _, alone = render(Scene(dense.scene.background, (thing,)), HEIGHT, WIDTH)
            assert (ids == number).sum() >= LEAST_VISIBLE * alone.sum() > 0


def test_numbers_are_unique(world):
    content = json.loads((world / "coco/annotations/instances_train.json").read_text())
    ids = [a["id"] for a in content["annotations"]]
    assert len(set(ids)) == len(ids) and 0 not in ids
    assert {a["image_id"] for a in content["annotations"]} == {i["id"] for i in content["images"]}
