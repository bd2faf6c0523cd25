"""Maps whose ids start at 0 or at 1, and data sets that read them the other way round."""

import logging

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.datasets import BaseSegDataset
from torch import nn

from bam_mm import InputError
from bam_mm.data.checks import zero_label
from bam_mm.data.checks.dense_labels import check_dense_data
from bam_mm.data.checks.zero_label import check_same_zero
from tests.data.annotated import encoded, photograph

CLASSES = ("road", "tree", "car", "person")
EVEN = np.array([[0, 1, 2, 3]] * 6).repeat(2, axis=1)
MODEL = nn.Identity()
STEPS = [dict(type="mmcv.LoadImageFromFile"), dict(type="bam_mm.LoadSemanticMap")]


def ids_with(zero, *others):
    """Return ids of which the first ``zero`` pixels of 48 are 0, and the others follow evenly."""
    ids = np.resize(np.array(others), (6, 8))
    ids.flat[:zero] = 0
    return ids


@pytest.fixture
def check(tmp_path, monkeypatch):
    """A function that checks a data set of maps, and returns its warnings and notes."""
    logged = []
    monkeypatch.setattr(
        zero_label, "print_log", lambda text, level, **_: logged.append((level, text))
    )

    def run(*maps, reduced, part="train", classes=CLASSES, names="{:03d}", **more):
        for kind in ("images", "maps"):
            (tmp_path / kind).mkdir(exist_ok=True)
        for number, ids in enumerate(maps):
            name = names.format(number)
            (tmp_path / f"images/{name}.jpg").write_bytes(photograph())
            (tmp_path / f"maps/{name}.png").write_bytes(encoded(ids.astype(np.uint8)))
        init_default_scope("mmseg")
        data = BaseSegDataset(
            data_root=str(tmp_path),
            data_prefix=dict(img_path="images", seg_map_path="maps"),
            metainfo=dict(classes=classes, **more) if classes else None,
            reduce_zero_label=reduced,
            pipeline=STEPS,
        )
        check_dense_data(MODEL, data, part)
        return [text for level, text in logged if level >= logging.WARNING], logged, data

    return run


SHIFTED = (
    r"reduce_zero_label=True ignores 0, but 3 checked train maps count their 4 classes from 0: "
    r"25\.0% of the pixels are 0, 25\.0% are 3, and none is 4 \('person'\)\. Set "
    r"reduce_zero_label=False in all data sets, or metainfo\.zero_is_unlabelled=True if"
)


def test_the_label_shift_stops(check):
    """Every label would be one too small: roads ignored, trees trained as roads."""
    with pytest.raises(InputError, match=SHIFTED):
        check(EVEN, EVEN, EVEN, reduced=True)


def test_the_reverse_stops(check):
    message = (
        r"reduce_zero_label=False counts 4 classes from 0 to 3, but the ids of 2 checked train "
        r"maps run from 1 to 4: 12\.5% of the pixels are 0, and .*% are 4\. Set "
        r"reduce_zero_label=True in all data sets if 0 is unlabelled, or num_classes=5 "
    )
    with pytest.raises(InputError, match=message):
        check(ids_with(12, 1, 2, 3, 4), EVEN * 0 + 1, reduced=False)


HALF = "50.0% of the pixels of 1 checked train maps are 0, and none is 4, the last class: "
NO_ZERO = "no pixel of 1 checked {} maps is 0, the class 'road': set reduce_zero_label=True if "


@pytest.mark.parametrize(
    "ids, settings, warns, message",
    [
        (ids_with(24, 1, 2), dict(reduced=True), True, HALF),
        (ids_with(24, 1, 2), dict(reduced=True, zero_is_unlabelled=True), False, HALF),
        (EVEN % 3 + 1, dict(reduced=False), True, NO_ZERO.format("train")),
        # Only training maps are expected to show every class.
        (EVEN % 3 + 1, dict(reduced=False, part="val"), False, NO_ZERO.format("val")),
    ],
    ids=["much 0", "much 0, as known", "no 0", "no 0 in a validation"],
)
def test_what_may_be_meant_warns(ids, settings, warns, message, check):
    warnings, [(_, text)], _ = check(ids, **settings)
    assert text.startswith(message) and len(warnings) == warns


def test_few_of_many_classes_may_be_absent_from_shifted_maps(check):
    classes = [str(number) for number in range(40)]
    ids = np.resize(np.delete(np.arange(40), [5, 6]), (6, 8))
    with pytest.raises(InputError, match=r"count their 40 classes from 0: 4\.2% of the pixels"):
        check(ids, reduced=True, classes=classes)
    ids[ids == 7] = 8
    assert not check(ids, reduced=True, classes=classes)[0]


def test_a_setting_that_nobody_chose_stops(check):
    with pytest.raises(InputError, match=r"reduce_zero_label is not set, .* ids 0 to 3 for 4 cl"):
        check(EVEN, reduced=None)
    with pytest.raises(InputError, match=r"train maps in .* have no names of classes"):
        check(EVEN, reduced=False, classes=None)


LEGAL = {
    "0 is a class": ([EVEN], dict(reduced=False)),
    "0 is unlabelled": ([ids_with(30, 1, 2, 3, 4)], dict(reduced=True)),
    "nothing is unlabelled": ([EVEN + 1], dict(reduced=True)),
    "255 is ignored": ([np.where(EVEN == 2, 255, EVEN), EVEN], dict(reduced=False)),
    "a small validation split": ([ids_with(1, 1, 2, 3)] * 2, dict(reduced=True, part="val")),
    "0 is rare": ([EVEN + 1, ids_with(1, 1, 2, 3, 4)], dict(reduced=True)),
    "the last class is missing": ([ids_with(4, 1, 2, 3)] + [EVEN % 3 + 1] * 4, dict(reduced=True)),
    "few of many classes": ([ids_with(9, 7, 12, 19)], dict(reduced=True, classes=range(20))),
    "many rare classes": ([ids_with(30, 7, 12, 19)], dict(reduced=False, classes=range(20))),
    "known": ([EVEN], dict(reduced=True, zero_is_unlabelled=True)),
}


@pytest.mark.parametrize("case", LEGAL)
def test_no_false_alarm(case, check):
    maps, settings = LEGAL[case]
    settings["classes"] = [str(name) for name in settings.get("classes", CLASSES)]
    warnings, _, data = check(*maps, **settings)
    assert not warnings
    assert data[0]["gt_seg_map"].max() < len(settings["classes"]) or 255 in data[0]["gt_seg_map"]


def test_a_class_in_one_of_many_maps_is_found(check):
    """None of the 16 maps of the sample shows a person, but one of the others does."""
    maps = [EVEN] * 40
    maps[1] = EVEN + 1
    warnings, logged, _ = check(*maps, reduced=True)
    assert not warnings and "of 40 checked" not in logged[0][1]


def test_a_part_of_ade20k_stays_silent(check):
    """The first images of ADE20K lack its last classes, and 0 is unlabelled."""
    ids = np.arange(150).reshape(10, 15)[:6, :8]
    classes = [str(number) for number in range(150)]
    options = dict(reduced=True, classes=classes, names="ADE_train_{:08d}")
    warnings, logged, _ = check(ids, ids, **options)
    assert not warnings and len(logged) == 1


def test_a_rare_id_beyond_the_classes(check):
    """The first sampled map names the file only where the ids do not look shifted."""
    with pytest.raises(InputError, match=r"000\.png has label 9 in 12 pixels"):
        check(np.where(EVEN == 3, 9, EVEN), reduced=False)


def test_parts_of_a_data_set_agree():
    check_same_zero([("train", "a", True), ("val", "a", True), ("test", "b", False)])
    with pytest.raises(InputError, match=r"^train_data.*label is False, but that of test_"):
        check_same_zero([("train", "a", False), ("val", "a", None), ("test", "a", True)])
    with pytest.raises(InputError, match=r"^val_dataloader.*label='no': write True if 0 is unlab"):
        check_same_zero([("train", "a", False), ("val", "a", "no")])
