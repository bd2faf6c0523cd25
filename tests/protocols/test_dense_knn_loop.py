"""The loop of dense kNN: a perfect backbone, a slow reference, unlabelled pixels, messages."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bam_mm import InputError
from bam_mm.evaluation import patch_draws
from bam_mm.protocols.unit_scores import read_units
from tests.protocols.dense_knn_runs import CLASSES, PATCH, ReadsColours, evaluate, write_stripes
from tests.reference.slow_dense_knn import (
    slow_classes,
    slow_dense_knn,
    slow_mean_iou,
    slow_sample,
    slow_shares,
)

pytestmark = pytest.mark.slow

GRID = (6, 8)


@pytest.fixture
def stripes(tmp_path):
    write_stripes(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "written, reduced",
    [
        ({}, False),
        (dict(unlabelled=(255,)), False),
        (dict(offset=1, unlabelled=(0, 255)), True),
    ],
    ids=["all", "255", "reduced"],
)
def test_a_perfect_backbone_reaches_100_percent(written, reduced, tmp_path):
    write_stripes(tmp_path / "data", **written)
    metrics = evaluate(tmp_path / "data", tmp_path / "out", reduced=reduced)
    assert metrics["mIoU"] == metrics["mAcc"] == metrics["aAcc"] == 100
    # The images show every class equally often: its IoU is a quarter, and that of the others 0.
    assert metrics["chance/mIoU"] == 6.25 and metrics["chance/aAcc"] == 25
    assert json.loads((tmp_path / "out/metrics.json").read_text())["mIoU"] == 100
    units = read_units(tmp_path / "out/units.npz")
    assert units.names == ("0.png", "1.png", "2.png", "3.png")
    overlap, union = units.scores["mIoU"].numerators, units.scores["mIoU"].denominators
    assert np.array_equal(overlap, union) and overlap.shape == (4, CLASSES)
    assert len(list((tmp_path / "out/predictions").glob("*.png"))) == 4


def read(root, split, index):
    image = cv2.imread(str(root / f"images/{split}/{index}.png"))
    labels = cv2.imread(str(root / f"annotations/{split}/{index}.png"), cv2.IMREAD_UNCHANGED)
    pixels = torch.from_numpy(image).permute(2, 0, 1).float()[None]
    with torch.no_grad():
        [maps] = ReadsColours(noise=1.0)(pixels)
    return maps[0].flatten(1).T.double().tolist(), labels.tolist()


def test_equals_the_slow_reference(tmp_path):
    root = tmp_path / "data"
    write_stripes(root, train=4, val=2, unlabelled=(255,), speckled=True)
    bank, shares = [], []
    for index in range(4):
        features, labels = read(root, "train", index)
        found = slow_shares(labels, GRID, num_classes=CLASSES)
        draws = patch_draws(len(found), seed=3, image=index).tolist()
        for patch in slow_sample(found, 10, draws):
            bank.append(features[patch])
            shares.append(found[patch])
    predictions, truths = [], []
    for index in range(2):
        features, labels = read(root, "val", index)
        found = slow_dense_knn(bank, shares, features, k=5, temperature=0.1)
        predictions.append(slow_classes(found, GRID, (PATCH * GRID[0], PATCH * GRID[1])))
        truths.append(labels)
    expected = slow_mean_iou(predictions, truths, num_classes=CLASSES)
    assert expected < 0.99  # The task is not trivial.
    metrics = evaluate(
        root, tmp_path / "out", noise=1.0, bank_size=43, k=5, temperature=0.1, seed=3
    )
    assert metrics["mIoU"] == pytest.approx(100 * expected, abs=0.006)  # mmseg rounds.


def test_float16_batches_and_chunks_change_little_or_nothing(tmp_path):
    write_stripes(tmp_path / "data", speckled=True)

    def single(config):
        config.test_dataloader.batch_size = config.test_cfg.bank.batch_size = 1

    settings = dict(noise=1.0, k=5, bank_size=60)
    whole = evaluate(tmp_path / "data", tmp_path / "a", **settings)
    assert whole["mIoU"] < 99
    other = evaluate(tmp_path / "data", tmp_path / "b", chunk=5, change=single, **settings)
    assert other == pytest.approx(whole, abs=0.02)
    half = evaluate(tmp_path / "data", tmp_path / "c", feature_dtype="float16", **settings)
    assert half["mIoU"] == pytest.approx(whole["mIoU"], abs=0.5)


def without_maps(config):
    for step in list(config.test_cfg.bank.dataset.pipeline):
        if step.type == "bam_mm.LoadSemanticMap":
            config.test_cfg.bank.dataset.pipeline.remove(step)


def other_classes(config):
    config.test_cfg.bank.dataset.metainfo = dict(classes=list("abdc"))


def other_zero(config):
    config.test_cfg.bank.dataset.reduce_zero_label = True


def linked_bank(config):
    """The folder of the test images under another name."""
    root = Path(config.test_cfg.bank.dataset.data_root)
    for kind in ("images", "annotations"):
        (root / kind / "linked").symlink_to(root / kind / "val")
    prefix = dict(img_path="images/linked", seg_map_path="annotations/linked")
    config.test_cfg.bank.dataset.data_prefix = prefix


def no_whole_patches(config):
    resize = dict(type="Resize", scale=(60, 48), keep_ratio=False)
    for loader in (config.test_dataloader, config.test_cfg.bank):
        loader.dataset.pipeline = [*loader.dataset.pipeline]
        loader.dataset.pipeline.insert(3, resize)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(k=241), r"test_cfg\.k=241, but the bank has 240 labelled patches: lower k, raise"),
        (dict(k=0), r"test_cfg\.k=0: set a whole number of at least 1"),
        (dict(bank_size=4), r"test_cfg\.bank_size=4, but the bank has 5 images: set it to at"),
        (dict(temperature=0), r"test_cfg\.temperature=0: set a finite number above 0"),
        (dict(seed=-1), r"test_cfg\.seed=-1: set a whole number of at least 0"),
        (dict(temperature=float("inf")), r"test_cfg\.temperature=inf: set a finite number"),
        (dict(feature_dtype="int8"), "feature_dtype='int8': choose one of float32, float16"),
        (dict(precision="fp8"), r"test_cfg\.precision='fp8': choose one of"),
        (dict(change=without_maps), "train/0.png has no map: dense kNN needs labels of bank"),
        (dict(change=other_classes), r"\(a, b, c, d\) are not those of the bank \(a, b, d, c\)"),
        (dict(change=linked_bank), "4 of the test images are in the bank .*/val/0.png; use"),
        (dict(change=other_zero), r"test_cfg\.bank is True, both for"),
        (dict(change=no_whole_patches), "an image of 60x48 pixels into 8x6|60x48 pixels into 7x6"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:20],
)
def test_wrong_inputs_are_one_message(options, message, stripes, tmp_path):
    with pytest.raises(InputError, match=message):
        evaluate(stripes, tmp_path / "out", **options)


def test_a_missing_folder_of_the_bank_is_named(stripes, tmp_path):
    def change(config):
        config.test_cfg.bank.dataset.data_prefix.img_path = "images/bank"

    with pytest.raises(InputError, match=r"test_cfg\.bank\.dataset\.data_prefix\.img_path=NAME"):
        evaluate(stripes, tmp_path / "out", change=change)


def test_another_model_is_refused(stripes, tmp_path):
    def change(config):
        config.model = dict(
            type="bam_mm.FrozenFeatures", backbone=dict(type="mmpretrain.ResNet", depth=18),
            feature="mean", data_preprocessor=dict(type="SegDataPreProcessor"),
        )  # fmt: skip

    with pytest.raises(InputError, match=r"needs model\.type=bam_mm\.FrozenMaps, not Frozen"):
        evaluate(stripes, tmp_path / "out", change=change)
