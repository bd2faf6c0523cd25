"""COCO files without a single reading: one message with the value, the place and the remedy."""

import json
import re

import pytest

from bam_mm import InputError
from bam_mm.data.coco.document import parse_document
from bam_mm.data.coco.reader import check_instances, read_instances
from tests.data.coco.samples import content, small


def text(found):
    return json.dumps(found).encode()


PANOPTIC = dict(small(), annotations=[dict(image_id=1, segments_info=[], file_name="a.png")])
CAPTIONS = dict(images=[], annotations=[dict(image_id=1, id=1, caption="a cat")])


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", r"i\.json is empty: "),
        (b" \n ", r"i\.json is empty: "),
        (text(content())[:-2000], r"i\.json ends in the middle \(.*line 1.*: copy it again"),
        (b'{"images": [1, 2', r"ends in the middle"),
        (text(small()) + b"\n" + text(small()), r"more than one JSON document \(.* line 2"),
        (b"{'images': []}", r"is not JSON \(.*line 1, column 2\): correct it there"),
        (b'{"images": [], }', r"is not JSON \(.*line 1"),
        (text(small()).replace(b"cat", b"c\xe4t"), r"is not encoded as UTF-8.*save it as UTF-8"),
        (b"[" * 100_000, r"is not a COCO instance file|ends in the middle"),
        (b'{"images": ' + b"9" * 9000 + b"}", r"is not a COCO instance file"),
        (b"\x1f\x8b\x08\x00", r"compressed with gzip: unpack it"),
        (b"<!DOCTYPE html>", r"is a page in HTML or XML.*download the file again"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"pointer of Git LFS.*git lfs pull"),
        (b"[]", r"is a list of 0 entries, as files of detection results are"),
        (text([dict(image_id=1, bbox=[1, 2, 3, 4], score=1.0)]), r"is a list of 1 entries"),
        (b"7", r"is a number instead of a COCO instance file"),
        (text(PANOPTIC), r"is a panoptic file: provide the instance file"),
        (text(CAPTIONS), r"is a file of captions: provide the instance file"),
        (text(dict(version="5", shapes=[], imagePath="a.jpg")), r"is a file of LabelMe: export"),
        (text(dict(a=1)), r"has no images and no categories, only 'a': provide"),
        (text(dict(small(), categories={"1": "cat"})), r"categories in i\.json is a dict: write"),
        (text(dict(small(), images=[5])), r"images\[0\] in i\.json is a number: write a dict"),
        (text(dict(small(), annotations=[None])), r"annotations\[0\] in i\.json is null"),
    ],
)
def test_documents(data, message):
    with pytest.raises(InputError, match=message):
        parse_document(data, "i.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.json cannot be read \(No such file.*restore"):
        read_instances(tmp_path / "none.json")


def images(*entries):
    return dict(small(), images=[dict(width=100, height=80, **entry) for entry in entries])


def categories(*entries):
    return dict(small(), categories=list(entries))


TWO_CATS = categories(dict(id=1, name="cat"), dict(id=2, name="cat"))
TWO_CATS["annotations"].append(dict(TWO_CATS["annotations"][0], id=2, category_id=2))
STRAY = content()
STRAY["annotations"][6]["category_id"] = 999
LOST = content()
for entry in LOST["annotations"]:
    entry["image_id"] += 1000


@pytest.mark.parametrize(
    "found, message",
    [
        (images(), r"i\.json has no image: list those"),
        (images(dict(file_name="a.jpg")), r"images\[0\] in i\.json has id None: write an integer"),
        (images(dict(id=[1], file_name="a")), r"images\[0\] in i\.json has id \[1\]"),
        (images(dict(id=True, file_name="a")), r"images\[0\] in i\.json has id True"),
        (images(dict(id=1)), r"images\[0\] in i\.json \(id 1\) has file_name None: write the path"),
        (
            images(dict(id=1, file_name="a.jpg"), dict(id=1, file_name="b.jpg")),
            r"two images with id 1, 'a\.jpg' and 'b\.jpg': give them ids of their own",
        ),
        (
            dict(small(), images=[dict(id=1, file_name="a.jpg", width=0)]),
            r"image 1 \('a\.jpg'\) in i\.json has width 0 and height None, and the folder of "
            r"images is not known: write both in pixels$",
        ),
        (
            dict(small(), images=[dict(id=1, file_name="a.jpg", width=10**6, height=9)]),
            r"image 1 in i\.json has 1000000x9 px, .*correct its width and height",
        ),
        (categories(), r"i\.json has no category: list those"),
        (categories(dict(name="cat")), r"categories\[0\] in i\.json has id None: write"),
        (categories(dict(id=1)), r"categories\[0\] in i\.json has name None: write the name"),
        (
            categories(dict(id=1, name="cat"), dict(id=1, name="dog")),
            r"two categories with id 1, 'cat' and 'dog': give them ids of their own",
        ),
        (TWO_CATS, r"annotations of two categories with the name 'cat' \(ids 1 and 2\): rename"),
        (
            STRAY,
            r"^1 of 18 annotations in i\.json have a category that the file does not list \(the "
            r"first: annotation 7 with category_id 999\): add it to categories, or remove",
        ),
        (
            LOST,
            r"none of the 18 annotations in i\.json refers to one of its images \(annotation 1 has "
            r"image_id 1001, the first image 1\): correct the ids",
        ),
        (small(image_id="removed"), r"annotation 1 in i\.json has no image_id: write that of its"),
        (
            dict(small(image_id=None), images=[dict(small()["images"][0], id="None")]),
            r"annotation 1 in i\.json has no image_id",
        ),
        (small(category_id=None), r"annotation 1 in i\.json has no category_id"),
        (
            small(bbox=None, segmentation=None, id="removed"),
            r"annotations\[0\] in i\.json has bbox None and no mask to take the box from: write x",
        ),
        (small(bbox=[1, 2, 3], segmentation=[]), r"has bbox \[1, 2, 3\] and no mask"),
        (small(bbox=[1, 2, "a", 4], segmentation=[[]]), r"has bbox \[1, 2, 'a', 4\]"),
        (small(iscrowd=2), r"annotation 1 in i\.json has iscrowd 2: write 0 for an object, 1 for"),
        (small(iscrowd="no"), r"has iscrowd 'no'"),
        (small(bbox=[9, 9, 0, 5], segmentation=None), r"none of them with a box inside its image"),
    ],
)
def test_values_without_a_single_reading(found, message):
    with pytest.raises(InputError, match=message):
        check_instances(found, "i.json")


def converted(change, *, masks=True):
    found = content()
    sizes = {entry["id"]: (entry["width"], entry["height"]) for entry in found["images"]}
    for entry in found["annotations"]:
        change(entry, *sizes[entry["image_id"]])
        if not masks:
            entry.pop("segmentation")
    return found


def normalise_box(entry, width, height):
    x, y, w, h = entry["bbox"]
    entry["bbox"] = [x / width, y / height, w / width, h / height]


def normalise_polygons(entry, width, height):
    if isinstance(entry["segmentation"], list):
        entry["segmentation"] = [
            [value / (height if number % 2 else width) for number, value in enumerate(part)]
            for part in entry["segmentation"]
        ]


def to_corners(entry, width, height):
    x, y, w, h = entry["bbox"]
    entry["bbox"] = [x, y, x + w, y + h]


def enlarge(entry, width, height):
    entry["bbox"] = [3 * value for value in entry["bbox"]]
    if isinstance(entry["segmentation"], list):
        entry["segmentation"] = [[3 * value for value in part] for part in entry["segmentation"]]


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize(
    "change, message",
    [
        (
            normalise_box,
            r"i\.json has boxes normalised to 0 to 1 \(18 of 18 .*first: annotation 1 ",
        ),
        (to_corners, r"i\.json has boxes of two corners .*: write x, y, width and height"),
        (enlarge, r"i\.json has annotations outside their images .* 128x96 px\): check width and"),
    ],
)
def test_a_file_in_another_convention(change, message, masks):
    with pytest.raises(InputError, match=message):
        check_instances(converted(change, masks=masks), "i.json")


def test_boxes_beside_their_masks():
    found = dict(small(), annotations=[dict(small()["annotations"][0], id=n) for n in range(1, 9)])
    found["annotations"][3]["bbox"] = [60, 20, 30, 40]
    message = r"do not touch their masks \(1 of 8 .*annotation 4 .*\): export .* or remove bbox"
    with pytest.raises(InputError, match=message):
        check_instances(found, "i.json")


def test_normalised_polygons():
    message = r"has polygons normalised to 0 to 1 .*: multiply x by the width of the image"
    with pytest.raises(InputError, match=message):
        check_instances(converted(normalise_polygons), "i.json")


@pytest.mark.parametrize(
    "mask, reason",
    [
        ([], "no mask"),
        ([[]], "no mask"),
        (None, "no mask"),
        ([[10, 20, 40, 60]], "a polygon of fewer than three points"),
        ([[10, 20, 40, 20, 40, 60, 10]], "a polygon with an odd number of coordinates"),
        ([[10, 20, 40, "x", 40, 60]], "a polygon with a coordinate that is no number"),
        ([[10, 20, 40, None, 40, 60]], "a polygon with a coordinate that is no number"),
        ([[10, 20, 40, float("nan"), 40, 60]], "a polygon with a coordinate that is no number"),
        ([[1e9, 20, 40, 20, 40, 60]], "a polygon far outside the image"),
        ([[210, 20, 240, 20, 240, 60]], "a polygon outside the image"),
        ("mask.png", r"a mask that is neither polygons nor run lengths \('mask\.png'\)"),
        ({"size": [40, 50], "counts": [0, 2000]}, r"of size \[40, 50\] instead of \[80, 100\]"),
        ({"size": [100, 80], "counts": [0, 8000]}, r"of size \[100, 80\] instead of"),
        ({"size": [80, 100], "counts": [0, 7999]}, "of 7,999 instead of 8,000 pixels"),
        ({"size": [80, 100], "counts": [9000, -1000]}, "run lengths of"),
        ({"size": [80, 100], "counts": "Zz"}, "run lengths that cannot be decoded"),
        ({"size": [80, 100]}, "run lengths that cannot be decoded"),
    ],
)
def test_masks_without_a_single_reading_are_removed_and_counted(mask, reason):
    found = check_instances(small(segmentation=mask), "i.json")
    assert "segmentation" not in found.content["annotations"][0]
    for counted in (found.counts.all, found.counts.trained):
        assert counted.number == 1
        assert re.search(f"^annotation 1 in i\\.json: .*{reason}", counted.first)
