"""COCO files against what data set, metric and model of a config need."""

import pytest
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.data.coco import api
from bam_mm.launch.data_folders import check_data_folders
from tests.data.coco.samples import content, small, write

MASKS = [dict(type="LoadAnnotations", with_bbox=True, with_mask=True)]
BOXES = [dict(type="LoadAnnotations", with_bbox=True)]


def config(root, found, *, pipeline=BOXES, classes=("cat",), wrapped=False, test=False, **metric):
    (root / "train").mkdir(exist_ok=True)
    path = write(root / "i.json", found)
    data = dict(
        type="CocoDataset",
        metainfo=dict(classes=classes),
        data_root=str(root),
        ann_file="i.json",
        data_prefix=dict(img="train/"),
        pipeline=pipeline,
    )
    if wrapped:
        inner = dict(type="ConcatDataset", datasets=[data])
        data = dict(type="RepeatDataset", times=2, dataset=inner)
    evaluator = dict(type="CocoMetric", **{"ann_file": path, "metric": "bbox", **metric})
    part = "test" if test else "val"
    found = {"default_scope": "mmdet", f"{part}_dataloader": dict(dataset=data)}
    found[f"{part}_evaluator"] = evaluator
    if not test:
        found["train_dataloader"] = dict(dataset=data)
    return Config(found)


@pytest.mark.parametrize("wrapped", [False, True])
def test_sound_files_pass(wrapped, tmp_path):
    check_data_folders(config(tmp_path, small(), wrapped=wrapped))
    check_data_folders(config(tmp_path, small(), pipeline=MASKS, metric=["bbox", "segm"]))
    check_data_folders(config(tmp_path, small(segmentation=None), wrapped=wrapped))


@pytest.mark.parametrize(
    "settings, needs",
    [
        (dict(pipeline=MASKS), "the data pipeline loads masks"),
        (dict(pipeline=[dict(type="X", transforms=[MASKS])]), "the data pipeline loads masks"),
        (dict(pipeline=MASKS, wrapped=True), "the data pipeline loads masks"),
        (dict(metric="segm"), r"the metric evaluates masks \(segm\)"),
        (dict(metric=["bbox", "segm"]), r"the metric evaluates masks \(segm\)"),
    ],
)
@pytest.mark.parametrize("mask", [None, [], [[10, 20, 40, 60]]])
def test_missing_masks(mask, settings, needs, tmp_path):
    message = rf"1 of 1 annotations have no usable mask, and {needs} \(the first: annotation 1 in "
    with pytest.raises(InputError, match=message):
        check_data_folders(config(tmp_path, small(segmentation=mask), **settings))


def test_a_file_of_another_ending(tmp_path):
    settings = config(tmp_path, small())
    (tmp_path / "labels.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    settings.train_dataloader.dataset.ann_file = "labels.txt"
    with pytest.raises(InputError, match=r"labels\.txt has more than one JSON document"):
        check_data_folders(settings)


def test_a_list_of_classes_in_a_file(tmp_path):
    (tmp_path / "classes.txt").write_text("cat\n")
    check_data_folders(config(tmp_path, small(), classes=str(tmp_path / "classes.txt")))
    with pytest.raises(InputError, match=r"metainfo\.classes='cat' is a text"):
        check_data_folders(config(tmp_path, small(), classes="cat"))


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfcat\r\n\r\n", b"cat\n", b"cat \n\n"])
def test_the_data_set_takes_the_names_of_a_list_as_they_are_checked(content, tmp_path):
    (tmp_path / "classes.txt").write_bytes(content)
    settings = config(tmp_path, small(), classes=str(tmp_path / "classes.txt"))
    check_data_folders(settings)
    for part in ("train", "val"):
        assert settings[f"{part}_dataloader"].dataset.metainfo.classes == ["cat"]


@pytest.mark.parametrize(
    "content, fault",
    [("c\xe4t\n".encode("latin-1"), "not a text in UTF-8"), ("cat".encode("utf-16"), "not a text"),
     (b"\n", "empty")],
)  # fmt: skip
def test_a_list_of_classes_in_another_encoding(content, fault, tmp_path):
    (tmp_path / "classes.txt").write_bytes(content)
    settings = config(tmp_path, small(), classes=str(tmp_path / "classes.txt"))
    message = rf"metainfo\.classes='.*classes\.txt' is {fault}.*: save one name"
    with pytest.raises(InputError, match=message):
        check_data_folders(settings)


def test_no_annotations(tmp_path):
    found = {key: value for key, value in small().items() if key != "annotations"}
    with pytest.raises(InputError, match=r"i\.json has no annotations, which the train data need"):
        check_data_folders(config(tmp_path, found))
    message = r"which the test data need: .*, or set test_evaluator\.format_only=True"
    with pytest.raises(InputError, match=message):
        check_data_folders(config(tmp_path, found, test=True))
    check_data_folders(config(tmp_path, found, test=True, format_only=True))


def test_images_that_training_leaves_out_are_counted(tmp_path, monkeypatch):
    found = small()
    found["images"] += [dict(found["images"][0], id=n, height=20) for n in (2, 3)]
    found["categories"].append(dict(id=2, name="dog"))
    found["annotations"].append(dict(found["annotations"][0], id=2, image_id=2, category_id=2))
    found["annotations"][1].update(bbox=[1, 1, 9, 9], segmentation=None)
    read = []
    original = api.read_ahead
    monkeypatch.setattr(api, "read_ahead", lambda *a: read.append(original(*a)) or read[-1])
    settings = config(tmp_path, found)
    settings.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True, min_size=32)
    settings.val_dataloader = None
    check_data_folders(settings)
    notes = str(read[0].notes)
    assert "2 that training leaves out (a side below 32 px)" in notes
    assert "2 that training leaves out (no object)" in notes  # of the class cat


def test_the_message_suggests_the_classes_without_a_group_of_them(tmp_path):
    found = small()
    found["categories"][0]["supercategory"] = "animals"
    found["categories"].insert(0, dict(id=0, name="animals", supercategory="none"))
    message = r'has 2 categories \(animals, cat\).*metainfo\.classes="\[cat\]" num_classes=1,'
    with pytest.raises(InputError, match=message):
        check_data_folders(config(tmp_path, found, classes=("dog",)))
    check_data_folders(config(tmp_path, found))


def test_the_metric_reads_other_images(tmp_path):
    other = small()
    other["images"].append(dict(other["images"][0], id=2, file_name="b.jpg"))
    path = write(tmp_path / "other.json", other)
    message = (
        r"val_evaluator\.ann_file='.*other\.json' has 2 images, and .*i\.json of val_.* 1 \(1 "
    )
    with pytest.raises(InputError, match=message):
        check_data_folders(config(tmp_path, small(), ann_file=path))
    with pytest.raises(InputError, match=r"val_evaluator\.ann_file='none\.json' does not exist"):
        check_data_folders(config(tmp_path, small(), ann_file="none.json"))
    check_data_folders(config(tmp_path, small(), ann_file=write(tmp_path / "same.json", small())))


def test_a_table_by_class_needs_the_order_of_the_ids(tmp_path):
    found = content()
    names = tuple(entry["name"] for entry in found["categories"])
    check_data_folders(config(tmp_path, found, classes=names, classwise=True))
    check_data_folders(config(tmp_path, found, classes=names[::-1]))
    message = r"val_evaluator\.classwise=True: mmdet names the classes .*plain_disk.*zigzag"
    with pytest.raises(InputError, match=message):
        check_data_folders(config(tmp_path, found, classes=names[::-1], classwise=True))
