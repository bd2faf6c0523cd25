"""mmdet's data set and metric on repaired files: the numbers of the sound file."""

import contextlib
import io
import logging
import time

import pytest
import torch

from bam_mm import InputError
from bam_mm.data.coco import api
from bam_mm.data.coco.class_names import check_class_names
from bam_mm.data.toy.scene import CLASS_NAMES
from tests.data.coco.samples import content, data_set, metric_of, scores, small, write


@pytest.fixture(autouse=True)
def quiet():
    """pycocotools prints tables."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    with contextlib.redirect_stdout(io.StringIO()):
        return scores(write(tmp_path_factory.mktemp("sound") / "i.json", content()))


def each(change):
    found = content()
    for entry in found["annotations"]:
        change(entry)
    return found


def shuffled():
    """Categories in another order, with other ids, that are not contiguous."""
    found = content()
    for entry in found["categories"]:
        entry["id"] = 90 - 7 * entry["id"]
    for entry in found["annotations"]:
        entry["category_id"] = 90 - 7 * entry["category_id"]
    found["categories"] = found["categories"][4:] + found["categories"][:4]
    return found


def texts():
    found = content()
    for part, key in (("images", "id"), ("annotations", "image_id")):
        for entry in found[part]:
            entry[key] = f"image{entry[key]}"
    for part, key in (("categories", "id"), ("annotations", "category_id")):
        for entry in found[part]:
            entry[key] = f"c{20 - entry[key]}"
    return found


def mixed():
    found = content()
    for entry in found["images"][::2] + found["categories"][1::2]:
        entry["id"] = str(entry["id"])
    return found


CHANGES = {
    "area": lambda: each(lambda a: a.pop("area")),
    "bbox": lambda: each(lambda a: a.pop("bbox")),
    "id": lambda: each(lambda a: a.pop("id")),
    "ids from 0": lambda: each(lambda a: a.update(id=a["id"] - 1)),
    "ids again in every image": lambda: each(lambda a: a.update(id=a["id"] % 4)),
    "image_id as text": lambda: each(lambda a: a.update(image_id=str(a["image_id"]))),
    "categories in another order": shuffled,
    "ids of letters": texts,
    "ids of mixed types": mixed,
}


@pytest.mark.parametrize("kind", CHANGES)
def test_average_precision_equals_that_of_the_sound_file(kind, sound, tmp_path):
    assert 0.1 < sound["segm_mAP"] < sound["bbox_mAP"] < 0.95
    assert scores(write(tmp_path / "i.json", CHANGES[kind]())) == sound


def test_average_precision_without_iscrowd(tmp_path):
    found = content()
    found["annotations"] = [a for a in found["annotations"] if not a["iscrowd"]]
    expected = scores(write(tmp_path / "i.json", found))
    for entry in found["annotations"]:
        del entry["iscrowd"]
    assert scores(write(tmp_path / "j.json", found)) == expected


def test_boxes_alone_are_evaluated_without_masks(sound, tmp_path):
    found = scores(
        write(tmp_path / "i.json", each(lambda a: a.pop("segmentation"))), metric=("bbox",)
    )
    assert found == {key: value for key, value in sound.items() if key.startswith("bbox")}


@pytest.mark.parametrize("kind", CHANGES)
def test_training_data_equal_those_of_the_sound_file(kind, tmp_path):
    expected = data_set(write(tmp_path / "i.json", content()))
    found = data_set(write(tmp_path / "j.json", CHANGES[kind]()))
    assert len(found) == len(expected) == 6
    for index in range(6):
        first, second = expected.get_data_info(index), found.get_data_info(index)
        assert first["instances"] == second["instances"]
        assert first["img_path"] == second["img_path"]


def test_labels_follow_the_names_of_the_config(tmp_path):
    path = write(tmp_path / "i.json", content())
    classes = CLASS_NAMES[::-1][:4]
    labels = {}
    for index in range(6):
        for entry in data_set(path, classes).get_data_info(index)["instances"]:
            labels[tuple(entry["bbox"][:2])] = classes[entry["bbox_label"]]
    expected = {
        tuple(a["bbox"][:2]): CLASS_NAMES[a["category_id"] - 1]
        for a in content()["annotations"]
        if CLASS_NAMES[a["category_id"] - 1] in classes
    }
    assert labels == expected


@pytest.mark.parametrize(
    "classes, message",
    [
        (("cat", "dog"), r"has 1 categories \(cat\), and 1 of the 2 classes .* \(dog\): set"),
        ("cat", r"metainfo\.classes='cat' is a text.*metainfo\.classes=\"\[cat\]\""),
        (("cat", "cat"), r"metainfo\.classes names cat more than once"),
    ],
)
def test_classes_that_the_file_lacks(classes, message, tmp_path):
    path = write(tmp_path / "i.json", small())
    with pytest.raises(InputError, match=message):
        data_set(path, classes)
    with pytest.raises(InputError, match=message):
        metric_of(path)._coco_api.get_cat_ids(cat_names=classes)


def test_spaces_around_the_names_of_the_config(tmp_path):
    """mmdet's own names of Objects365 have them."""
    found = small()
    found["categories"] = [dict(id=2, name="dog "), dict(id=1, name="cat")]
    path = write(tmp_path / "i.json", found)
    data = data_set(path, ("cat ", " dog"))
    assert data.cat_ids == [1, 2] and data.get_data_info(0)["instances"][0]["bbox_label"] == 0
    assert metric_of(path)._coco_api.get_cat_ids(cat_names=("dog", "cat ")) == [2, 1]
    with pytest.raises(InputError, match=r"metainfo\.classes names cat more than once"):
        data_set(path, ("cat", "cat "))


def test_another_order_than_that_of_the_file_is_a_warning(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(api, "print_log", lambda text, **how: logged.append((text, how["level"])))
    found = small()
    found["categories"] = [dict(id=n, name=name) for n, name in enumerate(("dog", "cat", "owl"))]
    path = write(tmp_path / "i.json", found)
    data_set(path, ("dog", "cat", "owl"))
    data_set(path, ("dog", "owl"))
    assert logged == []
    data_set(path, ("owl", "dog"))
    metric_of(path)._coco_api.get_cat_ids(cat_names=("owl", "dog"))
    [(text, level)] = logged
    assert level == logging.WARNING
    assert text.startswith(
        f"{path} lists its categories in another order (dog, owl) than the classes of the data set "
        "(owl, dog), and labels follow the classes. A checkpoint of plain mmdet numbers classes "
    )


def test_the_time_for_many_classes():
    names = [f"class{number}" for number in range(20_000)]
    start = time.process_time()
    check_class_names(names[::-1], names, "i.json")
    assert time.process_time() - start < 1


def test_each_file_is_parsed_once_for_check_and_data_set(tmp_path, monkeypatch):
    path = write(tmp_path / "i.json", small())
    read = []
    original = api.read_instances
    monkeypatch.setattr(api, "read_instances", lambda *a: read.append(a) or original(*a))
    api.read_ahead(path)
    assert len(data_set(path, ("cat",))) == 1 and len(read) == 1
    metric_of(path)
    assert len(read) == 2
    # What was read before the file changed does not count.
    api.read_ahead(path)
    found = small()
    found["images"].append(dict(found["images"][0], id=2))
    write(tmp_path / "i.json", found)
    assert len(data_set(path, ("cat",))) == 2


def test_what_was_changed_is_logged_once(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr(api, "print_log", lambda text, **_: logged.append(text))
    path = write(tmp_path / "i.json", each(lambda a: a.pop("area")))
    data_set(path)
    metric_of(path)
    assert logged == [
        f"{path}: annotations: 18 without an area (that of the mask, else of the box)"
    ]


def test_ground_truth_from_the_data_set_instead_of_a_file(tmp_path):
    metric = metric_of(None, ("cat",), metric=("bbox",))
    gt = dict(img_id=1, width=100, height=80)
    instance = dict(bbox=[10, 20, 40, 60], bbox_label=0, ignore_flag=0)
    path = metric.gt_to_coco_json([dict(gt, anns=[instance])], str(tmp_path / "x"))
    assert api.CheckedCOCO(path).get_ann_ids() == [1]


def test_which_classes_read_checked_files():
    from mmdet.datasets import CocoDataset, CocoPanopticDataset, LVISV1Dataset, Objects365V1Dataset

    class Derived(CocoDataset):
        pass

    api.install()
    assert api.is_read_here(CocoDataset) and api.is_read_here(Derived)
    assert Objects365V1Dataset.COCOAPI is api.CheckedCOCO
    for kind in (CocoPanopticDataset, LVISV1Dataset, None, dict):
        assert not api.is_read_here(kind)


@pytest.mark.parametrize("kind", [["bbox", "segm"], "bbox", "proposal"])
@pytest.mark.parametrize("converted", [False, True])
def test_without_a_prediction_average_precision_is_zero(kind, converted, tmp_path):
    path = write(tmp_path / "i.json", content())
    kinds = [kind] if isinstance(kind, str) else kind
    metric = metric_of(None if converted else path, metric=kinds)
    for image in content()["images"]:
        size = (image["height"], image["width"])
        nothing = dict(
            bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=int),
            masks=torch.zeros(0, *size, dtype=bool),
        )  # fmt: skip
        truth = [
            dict(bbox=[a["bbox"][0], a["bbox"][1], a["bbox"][0] + 9, a["bbox"][1] + 9],
                 bbox_label=a["category_id"] - 1, ignore_flag=0,
                 mask={"size": size, "counts": "0"})
            for a in content()["annotations"] if a["image_id"] == image["id"]
        ]  # fmt: skip
        sample = dict(img_id=image["id"], ori_shape=size, pred_instances=nothing, instances=truth)
        metric.process({}, [sample])
    found = metric.compute_metrics(metric.results)
    names = {"AR@100"} if kind == "proposal" else {f"{each}_mAP" for each in kinds}
    assert names <= found.keys() and all(found[name] == 0 for name in names)
    assert all(value in (0, -1) for value in found.values())  # -1: no object of this size.
