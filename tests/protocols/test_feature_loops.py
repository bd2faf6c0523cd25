"""kNN, logistic regression and clustering end to end: metrics, files and messages."""

import csv
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from bam_mm import InputError
from bam_mm.data.toy import CLASS_NAMES, make_world
from bam_mm.evaluation import (
    balanced_subset,
    clustering_curve,
    knn_predict,
    logistic_regression_sweep,
    summarise,
)
from bam_mm.launch.run_facts import read_facts
from bam_mm.protocols.unit_scores import read_units
from tests.protocols.feature_runs import evaluate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    make_world(root, scale=0.018)  # 72 training images, 18 validation images
    return root / "images"


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    metrics = {p: evaluate(p, images, out) for p in ("knn", "logreg", "cluster")}
    # Three protocols share two sets of images, which are extracted once each.
    tables = [load_file(p) for p in (out / "cache").glob("*.safetensors")]
    assert len(tables) == 2
    train, test = sorted(tables, key=lambda t: -len(t["labels"]))
    return out, metrics, (train["features"], train["labels"]), (test["features"], test["labels"])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_knn_matches_knn_predict(runs):
    out, metrics, (bank, bank_labels), (queries, labels) = runs
    assert len(bank) == 72 and len(queries) == 18
    table = rows(out / "knn/knn.csv")
    for k, row in zip((3, 5), table, strict=True):
        scores = knn_predict(bank, bank_labels, queries, num_classes=9, k=k)
        top1 = 100 * (scores.argmax(1) == labels).double().mean().item()
        assert metrics["knn"][f"knn_k{k}/top1"] == pytest.approx(top1)
        assert int(row["k"]) == k and float(row["top1"]) == pytest.approx(top1)
        assert metrics["knn"][f"knn_k{k}/top5"] > top1
    assert json.loads((out / "knn.json").read_text()) == metrics["knn"]
    units = read_units(out / "knn/units.npz")
    assert {k: s.value for k, s in units.scores.items()} == pytest.approx(metrics["knn"])
    hits = units.scores["knn_k5/top1"].correct
    assert hits.tolist() == (scores.argmax(1) == labels).tolist() and len(units.names) == 18
    # Names begin with the folder of the class.
    folders = [CLASS_NAMES.index(name.split("/")[0]) for name in units.names]
    assert [sorted(CLASS_NAMES).index(CLASS_NAMES[f]) for f in folders] == labels.tolist()


def test_the_cost_is_measured_while_features_are_extracted(runs, images, tmp_path):
    out = runs[0]  # Clustering was last, and read the features that kNN had extracted.
    known = dict(size=[48, 48], parameters=469728, gmacs=pytest.approx(0.01808, rel=1e-3))
    known |= dict(threads=torch.get_num_threads(), sharing=1)
    speed = ("images_per_s", "read_images_per_s", "peak_mb")
    cost = read_facts(out, "test")["cost"]
    assert cost == {**known, **dict.fromkeys((*speed, "peak_gpu_mb"))}
    evaluate("cluster", images, tmp_path)
    cost = read_facts(tmp_path, "test")["cost"]
    assert {key: cost[key] for key in known} == known
    assert cost["images_per_s"] > cost["read_images_per_s"] > 0 and cost["peak_mb"] > 50


@pytest.mark.parametrize(
    "option, stored, precision",
    [
        ({"test_cfg.feature_dtype": "float16"}, torch.float16, "float32"),
        ({"test_cfg.precision": "bfloat16"}, torch.float32, "bfloat16"),
    ],
)
def test_features_in_other_precisions(option, stored, precision, runs, images, tmp_path):
    out, _, (bank, bank_labels), (queries, _) = runs
    shutil.copytree(out / "cache", tmp_path / "cache")
    exact = {path.name for path in (tmp_path / "cache").glob("*.safetensors")}
    metrics = evaluate("knn", images, tmp_path, option)
    tables = [p for p in (tmp_path / "cache").glob("*.safetensors") if p.name not in exact]
    assert len(tables) == 2  # Features of another precision are others.
    test, train = sorted(map(load_file, tables), key=lambda table: len(table["labels"]))
    for table, wanted in ((train, bank), (test, queries)):
        assert table["features"].dtype == stored
        torch.testing.assert_close(table["features"].float(), wanted, atol=0.05, rtol=0)
        assert not torch.equal(table["features"].float(), wanted)
    scores = knn_predict(train["features"], bank_labels, test["features"], num_classes=9, k=5)
    top1 = 100 * (scores.argmax(1) == test["labels"]).double().mean().item()
    assert metrics["knn_k5/top1"] == pytest.approx(top1)
    assert json.loads((tmp_path / "test_facts.json").read_text())["precision"] == precision
    assert json.loads((out / "test_facts.json").read_text())["precision"] == "float32"


def test_logistic_regression_matches_the_sweep(runs):
    out, metrics, (features, labels), test = runs
    held_out = balanced_subset(labels, 0.25, seed=0)
    kept = torch.ones(72).bool()
    kept[held_out] = False
    sweep = logistic_regression_sweep(
        (features[kept], labels[kept]), (features[held_out], labels[held_out]), test,
        num_classes=9, penalties=[1e-2, 1, 100, 1e4],
    )  # fmt: skip
    assert torch.bincount(labels[held_out]).tolist() == [2] * 9
    assert metrics["logreg"] == pytest.approx(
        {
            "logreg/top1": 100 * sweep.test_score,
            "logreg/val_top1": 100 * sweep.val_score,
            "logreg/penalty": sweep.penalty,
            "logreg/penalty_at_end": float(sweep.at_end),
        }
    )
    curve = [float(row["val_top1"]) for row in rows(out / "logreg/penalties.csv")]
    assert curve == pytest.approx([100 * s for s in sweep.val_scores])
    units = read_units(out / "logreg/units.npz")
    assert units.scores["logreg/top1"].value == pytest.approx(100 * sweep.test_score)
    assert units.names == read_units(out / "knn/units.npz").names
    result = json.loads((out / "logreg/result.json").read_text())
    assert result["images"] == {"train": 54, "val": 18, "test": 18}
    assert result["warnings"] == sweep.warnings()
    assert (out / "logreg/penalties.png").read_bytes().startswith(b"\x89PNG")


def test_clustering_matches_the_curve(runs):
    out, metrics, _, (features, labels) = runs
    curve = clustering_curve(features, labels, [2, 4], num_classes=9, draws=3, seed=0, n_init=2)
    expected = {
        f"clustering_k{n}/{name}": 100 * value
        for n, scores in curve.items()
        for name, value in summarise(scores).items()
    }
    assert metrics["cluster"] == pytest.approx(expected)
    draws = rows(out / "clustering/draws.csv")
    assert [float(d["nmi"]) for d in draws] == pytest.approx(
        [s.nmi for scores in curve.values() for s in scores]
    )
    assert len(draws[-1]["drawn"].split()) == 4
    assert len(rows(out / "clustering/clustering.csv")) == 2
    assert (out / "clustering/clustering.png").read_bytes().startswith(b"\x89PNG")


def without_class(images, out, split, keep=0):
    """Copy the toy world, but keep only ``keep`` images of one class."""
    copy = out / "images"
    shutil.copytree(images, copy)
    for path in sorted((copy / split / CLASS_NAMES[2]).iterdir())[keep:]:
        path.unlink()
    return copy


@pytest.mark.parametrize(
    ("protocol", "options", "words"),
    [
        ("knn", {"test_cfg.k": [3, 73]}, "kNN with k=73, but the bank holds 72 images"),
        ("knn", {"test_cfg.k": [5, 5]}, "several different ones"),
        ("knn", {"test_cfg.feature_dtype": "half"}, "feature_dtype='half': choose one of float32"),
        ("cluster", {"test_cfg.precision": "fp16"}, "test_cfg.precision='fp16': choose one of"),
        ("cluster", {"test_cfg.num_classes": [10]}, "but the data set has 9"),
        ("cluster", {"test_cfg.images_per_class": 3}, "has 2 images, 3 are needed"),
        ("logreg", {"test_cfg.metric": "f1"}, "test_cfg.metric='f1'"),
        ("logreg", {"test_cfg.val_fraction": 1.0}, "val_fraction=1.0"),
        ("logreg", {"model.feature": "pooled"}, "model.feature='pooled'"),
    ],
)
def test_wrong_settings(protocol, options, words, images, tmp_path):
    with pytest.raises(InputError, match=words):
        evaluate(protocol, images, tmp_path, options)


def test_classes_that_are_empty_missing_or_single(images, tmp_path):
    empty = without_class(images, tmp_path / "a", "train")
    with pytest.raises(InputError, match=f"without an image: {CLASS_NAMES[2]}"):
        evaluate("knn", empty, tmp_path / "a")
    (empty / "train" / CLASS_NAMES[2]).rmdir()
    with pytest.raises(
        InputError, match=f"1 of the 9 classes of the test .* the 8 of .*: {CLASS_NAMES[2]}"
    ):
        evaluate("logreg", empty, tmp_path / "a")
    single = without_class(images, tmp_path / "b", "train", keep=1)
    with pytest.raises(InputError, match="single training image, which is held out"):
        evaluate("logreg", single, tmp_path / "b")
    # The first 16 images belong to two classes; the folders of the other classes exist.
    few = {"test_cfg.bank.dataset.indices": 16}
    with pytest.raises(InputError, match="7 of 9 classes have no image among the bank images"):
        evaluate("knn", images, tmp_path / "c", few)


def test_features_that_are_not_finite(images, tmp_path, monkeypatch):
    from bam_mm.models import FrozenFeatures

    forward = FrozenFeatures.forward
    monkeypatch.setattr(
        FrozenFeatures, "forward", lambda self, *args, **kw: forward(self, *args, **kw) / 0
    )
    with pytest.raises(InputError, match=r"not finite for .*\.jpg: check the checkpoint"):
        evaluate("cluster", images, tmp_path)
    assert not (tmp_path / "cache").exists()
