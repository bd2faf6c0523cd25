"""Checks of detection and segmentation data, on small artificial folders."""

import json

from bam_mm.data.checks.dense_folders import instances, maps
from bam_mm.data.checks.folders import KnownData, check_known
from bam_mm.data.checks.known import KNOWN


def faults(check, root):
    known = KnownData("Tiny", "tiny.zip from example.com", ((check,),))
    return [f.text for f in check_known(known, root) if not f.ok]


def write(root, images, **changes):
    annotation = dict(id=4, image_id=0, category_id=1, bbox=[1, 2, 9, 9], area=81, iscrowd=0)
    sizes = dict(width=20, height=20)
    content = dict(
        images=[dict(id=i, file_name=f"{name}.jpg", **sizes) for i, name in enumerate(images)],
        annotations=[{**annotation, **changes}],
        categories=[dict(id=1, name="cat"), dict(id=7, name="dog")],
    )
    (root / "i.json").write_text(json.dumps(content))


def test_an_instance_file_and_its_images(tmp_path):
    check = instances("i.json", "train", 2, 2)
    assert faults(check, tmp_path) == [f"{tmp_path}/i.json is missing"]
    (tmp_path / "train").mkdir()
    (tmp_path / "train/a.jpg").touch()
    write(tmp_path, "ab")
    assert faults(check, tmp_path) == [
        f"2 of 2 images and 2 of 2 categories in {tmp_path}/i.json; 1 of the images in "
        f"{tmp_path}/train (missing: b.jpg)"
    ]
    (tmp_path / "train/b.jpg").touch()
    assert not faults(check, tmp_path)
    write(tmp_path, "ab", category_id=2)
    assert "1 of 1 annotations in " in faults(check, tmp_path)[0]
    assert (
        "does not list (the first: annotation 4 with category_id 2)" in faults(check, tmp_path)[0]
    )
    write(tmp_path, "a")
    assert faults(check, tmp_path)[0].startswith("1 of 2 images")
    (tmp_path / "i.json").write_text("[1")
    assert "i.json ends in the middle" in faults(check, tmp_path)[0]


def test_images_and_their_maps(tmp_path):
    check = maps("images", "maps", 2)
    for name in ("images/a.jpg", "images/b.jpg", "maps/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert faults(check, tmp_path) == [
        f"2 of 2 images in {tmp_path}/images, 1 with a map in {tmp_path}/maps (without a map: b)"
    ]
    (tmp_path / "maps/b.png").touch()
    assert not faults(check, tmp_path)


def test_coco_and_ade20k_are_known(tmp_path):
    for name, number in (("coco", 2), ("ade20k", 2)):
        found = check_known(KNOWN[name], tmp_path)
        assert len(found) == number and not any(f.ok for f in found)
