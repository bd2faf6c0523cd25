"""Random COCO files: a result that mmdet and pycocotools read, or one message."""

import contextlib
import copy
import io
import json

from hypothesis import given
from hypothesis import strategies as st
from mmdet.evaluation.metrics.coco_metric import COCOeval
from pycocotools import mask as mask_api

from bam_mm import InputError
from bam_mm.data.coco.api import CheckedCOCO
from bam_mm.data.coco.document import parse_document
from bam_mm.data.coco.reader import check_instances
from tests.data.coco.samples import data_set, small
from tests.fuzzing import fuzz_settings

RUNS = {"size": [80, 100], "counts": [820, 40, 7140]}


def near_real():
    found = small()
    found["images"].append(dict(id=2, file_name="sub/b.jpg", width=64, height=48))
    first = found["annotations"][0]
    compressed = mask_api.frPyObjects(RUNS, 80, 100)["counts"].decode()
    found["annotations"] += [
        dict(
            first, id=2, image_id=2, bbox=[1.5, 2.5, 20, 30], segmentation=[[1, 2, 21, 2, 21, 30]]
        ),
        dict(first, id=3, category_id=2, segmentation=dict(RUNS), iscrowd=1),
        dict(first, id=4, segmentation={"size": [80, 100], "counts": compressed}),
    ]
    found["categories"].append(dict(id=2, name="dog", supercategory="animal"))
    return copy.deepcopy(found)


numbers = st.one_of(
    st.integers(-3, 130),
    st.integers(),
    st.floats(-200, 200),
    st.floats(),
    st.sampled_from([0, 1, 0.5, 2**31, 2**63, -(2**63) - 1, 10**400, 1e308]),
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.text(max_size=6),
    st.sampled_from(["1", "2", "1.0", "01", " 1 ", "-0", "cat", "a\\b.jpg", "a\0", "\ud800"]),
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(
            st.sampled_from(["id", "name", "size", "counts", "bbox", "file_name", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)
KEYS = ["images", "annotations", "categories", "id", "image_id", "category_id", "segmentation"]
KEYS += ["bbox", "area", "iscrowd", "ignore", "width", "height", "file_name", "name", "counts"]


def places(node):
    """List every container of a nested structure with the keys of its entries."""
    found = []
    if isinstance(node, dict):
        found += [(node, key) for key in node]
        for value in node.values():
            found += places(value)
    elif isinstance(node, list):
        found += [(node, index) for index in range(len(node))]
        for value in node:
            found += places(value)
    return found


@st.composite
def damaged(draw):
    """Draw near-real content with up to four faults."""
    found = near_real()
    for _ in range(draw(st.integers(1, 4))):
        options = places(found)
        # Mostly fields of entries: most places are single coordinates.
        named = [place for place in options if isinstance(place[1], str)]
        options = named if named and draw(st.booleans()) else options
        if not options:
            break
        node, key = options[draw(st.integers(0, len(options) - 1))]
        kind = draw(st.sampled_from(["drop", "replace", "retype", "copy", "add"]))
        if kind == "drop":
            del node[key]
        elif kind == "replace":
            node[key] = draw(values)
        elif kind == "retype":
            node[key] = draw(st.sampled_from([str, lambda v: [v], repr, bool]))(node[key])
        elif kind == "copy":
            other, place = options[draw(st.integers(0, len(options) - 1))]
            node[key] = copy.deepcopy(other[place])
        elif isinstance(node, dict):
            node[draw(st.sampled_from(KEYS))] = draw(values)
        else:
            node.append(draw(values))
    return found


def use(coco):
    """Do what a training and an evaluation do with a file."""
    names = [entry["name"] for entry in coco.dataset["categories"]]
    data = data_set(coco.place, names)
    for index in range(len(data)):
        data.get_data_info(index)
    assert len(coco.get_img_ids()) == len(coco.dataset["images"])
    for annotation in coco.dataset["annotations"]:
        if "segmentation" in annotation:
            image = coco.imgs[annotation["image_id"]]
            encoded = coco.annToRLE(annotation)
            assert encoded["size"] == [image["height"], image["width"]]
            assert 0 <= mask_api.area(encoded) <= image["height"] * image["width"]
    category = coco.get_cat_ids(cat_names=names)[0]
    predictions = [
        dict(image_id=image, category_id=category, bbox=[10, 20, 30, 40], score=0.5)
        for image in coco.get_img_ids()
    ]
    evaluation = COCOeval(coco, coco.loadRes(predictions), "bbox")
    evaluation.params.iouThrs = evaluation.params.iouThrs[:1]
    evaluation.params.areaRng = evaluation.params.areaRng[:1]
    evaluation.params.maxDets = [9]
    evaluation.evaluate()
    evaluation.accumulate()


@fuzz_settings()
@given(found=damaged())
def test_fuzz_damaged_content(found, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            coco = CheckedCOCO(str(path))
        except InputError as error:
            assert "fuzz.json" in str(error) and len(str(error)) < 900
            return
        use(coco)


@fuzz_settings()
@given(found=values, part=st.sampled_from(["images", "annotations", "categories"]))
def test_fuzz_any_json(found, part):
    for content in (found, dict(near_real(), **{part: found})):
        with contextlib.suppress(InputError):
            check_instances(parse_document(json.dumps(content).encode(), "i.json"), "i.json")


@fuzz_settings()
@given(place=st.integers(0, 2000), inserted=st.binary(max_size=5), dropped=st.integers(0, 2000))
def test_fuzz_bytes(place, inserted, dropped):
    data = json.dumps(near_real()).encode()
    for damaged_data in (data[:place] + inserted + data[place + dropped :], inserted):
        with contextlib.suppress(InputError):
            check_instances(parse_document(damaged_data, "i.json"), "i.json")


def test_the_content_before_damage_is_sound(tmp_path):
    path = tmp_path / "i.json"
    path.write_text(json.dumps(near_real()))
    assert not check_instances(near_real(), "i.json").notes
    with contextlib.redirect_stdout(io.StringIO()):
        use(CheckedCOCO(str(path)))
