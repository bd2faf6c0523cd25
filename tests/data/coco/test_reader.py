"""Faulty COCO files that have one reading: the content is that of the sound file."""

import copy
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from bam_mm.data.coco.document import parse_document
from bam_mm.data.coco.images import header_size
from bam_mm.data.coco.reader import check_instances, read_instances
from bam_mm.data.orientation import read_header
from tests.data.coco.samples import content, small, write


def each(part, change):
    found = content()
    for entry in found[part]:
        change(entry)
    return found


def drop(*keys):
    return lambda entry: [entry.pop(key) for key in keys]


def retype(kind, *keys):
    return lambda entry: entry.update({key: kind(entry[key]) for key in keys})


def restarted_ids():
    return each("annotations", lambda a: a.update(id=a["id"] % 3))


def crossed_ids():
    """Ids of images as texts in the images and as floats in the annotations."""
    found = each("images", retype(str, "id"))
    for entry in found["annotations"]:
        entry["image_id"] = float(entry["image_id"])
    return found


def mixed_ids():
    found = each("annotations", retype(str, "image_id", "category_id"))
    for entry in found["images"][::2] + found["categories"][1::2]:
        entry["id"] = str(entry["id"])
    return found


SAME = {
    "no area": lambda: each("annotations", drop("area")),
    "area 0": lambda: each("annotations", lambda a: a.update(area=0)),
    "no box": lambda: each("annotations", drop("bbox")),
    "box null": lambda: each("annotations", lambda a: a.update(bbox=None)),
    "box NaN": lambda: each("annotations", lambda a: a.update(bbox=[float("nan")] * 4)),
    "box of texts": lambda: each("annotations", lambda a: a.update(bbox=[*map(str, a["bbox"])])),
    "box of no area": lambda: each("annotations", lambda a: a.update(bbox=[*a["bbox"][:2], 0, 0])),
    "no box, no area": lambda: each("annotations", drop("bbox", "area")),
    "no ids": lambda: each("annotations", drop("id")),
    "ids from 0": lambda: each("annotations", lambda a: a.update(id=a["id"] - 1)),
    "ids again": restarted_ids,
    "texts as ids": lambda: each("annotations", retype(str, "id")),
    "image_id as text": lambda: each("annotations", retype(str, "image_id")),
    "references as floats": lambda: each("annotations", retype(float, "image_id", "category_id")),
    "ids of mixed types": mixed_ids,
    "ids of images as floats": lambda: each("images", retype(float, "id")),
    "sizes as texts": lambda: each("images", retype(str, "width", "height")),
    "sizes as floats": lambda: each("images", retype(float, "width", "height")),
    "crowd as bool": lambda: each("annotations", retype(bool, "iscrowd")),
    "crowd as text": lambda: each("annotations", retype(str, "iscrowd")),
    "names with spaces": lambda: each("categories", lambda c: c.update(name=f" {c['name']} ")),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_content_is_that_of_the_sound_file(kind):
    changed = SAME[kind]()
    assert json.dumps(changed) != json.dumps(content())
    found = check_instances(changed, "i.json")
    assert found.content == content()
    assert not found.counts.all.number
    # Floats of equal value and bools are what mmdet and pycocotools read as they are.
    assert found.notes or kind in ("references as floats", "crowd as bool")


def test_a_sound_file_is_returned_as_it_is(tmp_path):
    found = read_instances(write(tmp_path / "i.json", content()))
    assert found.content == content() and not found.notes


def test_ids_that_are_texts_stay_texts_and_are_found():
    found = check_instances(crossed_ids(), "i.json").content
    assert [entry["id"] for entry in found["images"]] == [str(n) for n in range(1, 7)]
    assert {entry["image_id"] for entry in found["annotations"]} == {str(n) for n in range(1, 7)}


@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-32"),
        lambda text: b"\n  " + text.encode() + b"\r\n",
    ],
)
def test_encodings(encoded):
    assert parse_document(encoded(json.dumps(content())), "i.json") == content()


# A rectangle of 30x40 px at (10, 20) in an image of 100x80 px, in many notations.
RUNS = [10 * 80 + 20, *[40, 40] * 29, 40, 80 * 60 + 20]
RECTANGLES = {
    "flat list": [10, 20, 40, 20, 40, 60, 10, 60],
    "pairs": [[10, 20], [40, 20], [40, 60], [10, 60]],
    "nested pairs": [[[10, 20], [40, 20], [40, 60], [10, 60]]],
    "texts": [["10", "20", "40", "20", "40", "60", "10", "60"]],
    "with a stray part": [[10, 20, 40, 20, 40, 60, 10, 60], [], [5, 5, 6, 6]],
    "run lengths": {"size": [80, 100], "counts": RUNS},
    "run lengths as floats": {"size": [80.0, 100.0], "counts": [float(run) for run in RUNS]},
    "compressed": {
        "size": [80, 100],
        "counts": mask_api.frPyObjects({"size": [80, 100], "counts": RUNS}, 80, 100)[
            "counts"
        ].decode(),
    },
}


@pytest.mark.parametrize("notation", RECTANGLES)
def test_masks_in_other_notations_have_the_same_pixels(notation):
    changed = small(segmentation=RECTANGLES[notation], bbox="removed", area="removed")
    [found] = check_instances(changed, "i.json").content["annotations"]
    assert found["bbox"] == [10, 20, 30, 40] and found["area"] == 1200
    mask = found["segmentation"]
    if isinstance(mask, list) or isinstance(mask["counts"], list):
        mask = mask_api.frPyObjects(mask, 80, 100)
        mask = mask_api.merge(mask) if isinstance(mask, list) else mask
    expected = np.zeros((80, 100), np.uint8)
    expected[20:60, 10:40] = 1
    np.testing.assert_array_equal(mask_api.decode(mask), expected)


@pytest.mark.parametrize(
    "box, mask, expected",
    [
        ([40, 60, -30, -40], None, [10, 20, 30, 40]),
        ([-20, 20, 30, 40], None, [0, 20, 10, 40]),
        ([90.5, 70, 30, 40], None, [90.5, 70, 9.5, 10]),
        ([-0.5, 0, 101, 80], None, [-0.5, 0, 101, 80]),  # within rounding: unchanged
        ([-500, -500, 2000, 2000], "sound", [10, 20, 30, 40]),
        ([200, 200, 30, 40], "sound", [10, 20, 30, 40]),
        # A polygon partly outside: the box of its part in the image.
        (None, [[-20, 20, 40, 20, 40, 90, -20, 90]], [0, 20, 40, 60]),
    ],
)
def test_boxes(box, mask, expected):
    changes = dict(segmentation=mask or "removed") if mask != "sound" else {}
    found = small(bbox=box, **changes)
    # Beside many sound ones, so that this box does not speak for the convention of the file.
    found["annotations"] += [dict(small()["annotations"][0], id=n) for n in range(2, 40)]
    found = check_instances(found, "i.json")
    assert found.content["annotations"][0]["bbox"] == expected


def test_the_area_of_a_polygon_partly_outside_is_that_inside():
    changed = small(
        segmentation=[[-20, 20, 40, 20, 40, 90, -20, 90]], bbox="removed", area="removed"
    )
    [found] = check_instances(changed, "i.json").content["annotations"]
    assert found["area"] == 40 * 60


def test_sizes_are_read_from_the_images(tmp_path):
    found = each("images", drop("width", "height"))
    for number, entry in enumerate(found["images"]):
        image = Image.new("RGB", (128, 96) if number else (96, 128))
        exif = Image.Exif()
        if not number:
            exif[0x0112] = 6  # The image is shown with exchanged sides.
        image.save(tmp_path / entry["file_name"], exif=exif)
    found = read_instances(write(tmp_path / "i.json", found), tmp_path)
    assert found.content == content()
    assert str(found.notes) == "images: 6 without width or height (read from the image)"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_a_missing_size_is_that_of_the_header_that_pipelines_read(ending, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(tmp_path / f"a.{ending}", exif=exif)
    expected = (20, 30) if orientation in (6, 8) else (30, 20)
    assert read_header(tmp_path / f"a.{ending}").upright == expected[::-1]
    assert header_size(tmp_path)(f"a.{ending}") == expected


@pytest.mark.parametrize("name", ["none.jpg", "text.jpg", "folder", "a\0.jpg", "x" * 300])
def test_images_without_a_size(name, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"\w \w"):
        header_size(tmp_path)(name)


def test_repeated_entries_are_kept_once():
    found = content()
    for part in ("images", "categories"):
        found[part].append(copy.deepcopy(found[part][0]))
    assert check_instances(found, "i.json").content == content()


@pytest.mark.parametrize("unused", [0, 77])
def test_a_group_with_the_name_of_a_class(unused):
    found = content()
    name = found["categories"][0]["name"]
    found["categories"].insert(0, dict(id=unused, name=name, supercategory="none"))
    found = check_instances(found, "i.json")
    assert found.content == content()
    assert str(found.notes) == "categories: 1 without annotations and with the name of another"


def test_what_training_leaves_out_is_counted():
    found = content()
    found["annotations"][0]["ignore"] = 1
    found["annotations"][1].update(bbox=[5, 5, 0.5, 9], area=4.5, segmentation=None)
    found["annotations"][2]["image_id"] = 999
    notes = str(check_instances(found, "i.json").notes)
    assert "1 of images that the file does not list (left out)" in notes
    assert "2 that training leaves out (ignored, outside the image or smaller than" in notes


def test_backslashes():
    found = small()
    found["images"][0]["file_name"] = "one\\two\\a.jpg"
    found = check_instances(found, "i.json")
    assert found.content["images"][0]["file_name"] == "one/two/a.jpg"
