"""Published numbers: their sources, and where they stand on the page."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from bam_mm.report import write_report
from bam_mm.report.data import report_data
from bam_mm.report.published import FILE, published
from bam_mm.suite.definitions import load_suite, suite_names
from bam_mm.suite.records import read_records, record_path, write_json
from tests.pages import ROOT
from tests.report.made_records import made, write_suite
from tests.report.reading import Page, texts

PAPER = "BAM (arXiv 2408.02014), Table "


def rows(**facts):
    found = published().rows
    return [r for r in found if all(getattr(r, name) == value for name, value in facts.items())]


def with_keys(suite, knn="linear:dino", video="davis.jf:dino"):
    """The suite with other published numbers of its first two main metrics."""
    tasks = []
    for task, key in zip(suite.tasks, (knn, video), strict=True):
        first = replace(task.metrics[0], published=key)
        tasks.append(replace(task, metrics=(first, *task.metrics[1:])))
    return replace(suite, tasks=tuple(tasks))


KNN = {"knn_k20/top1": 20.0, "knn_k10/top1": 19.0}


@pytest.fixture
def folder(tmp_path):
    plain = dict(options={}, family="vit")
    made(tmp_path, "A", "knn", 0, KNN, **plain)
    made(tmp_path, "B", "knn", 0, {"knn_k20/top1": 10.0, "knn_k10/top1": 9.0}, **plain)
    made(tmp_path, "B", "video", 0, {"davis/J&F": 0.5, "davis/error": 3.0}, **plain)
    return tmp_path


def data_of(folder, suite, beside=True):
    return report_data(suite, read_records(folder), folder, beside=beside)


def test_the_rows_are_the_facts():
    """A sample, compared by hand with the tables of the papers."""
    [dino] = rows(method="DINO", backbone="ViT-B/16", source=f"{PAPER}6")
    assert dino.values == {"davis.jf:dino": 62.3, "davis.j:dino": 60.7, "davis.f:dino": 63.9}
    [transfer] = rows(method="BAM", backbone="ResNet-50", source=f"{PAPER}5")
    assert transfer.values["transfer.cars:byol"] == 65.9
    assert transfer.values["transfer.flowers:byol"] == 96.3
    [dense] = [r for r in rows(method="DINO", source="iBOT's paper") if "coco.box:ibot" in r.values]
    assert dense.values["ade20k.macc:ibot"] == 57.1
    assert [r.name for r in rows(epochs=800)] == ["DINO, ViT-S/16, 800 epochs"]
    [unsourced] = rows(source="not recorded")
    assert unsourced.values == {"linear:dino-4-blocks": 75.9}
    # No source has these scores of BAM: video, fine-tuning on ImageNet, and dense tasks.
    known = {key.partition(":")[0] for r in rows(method="BAM") for key in r.values}
    assert not known & {"davis.jf", "finetune", "coco.box", "ade20k.miou", "semi.1"}


def test_every_number_has_a_source_a_quantity_and_a_protocol():
    library = published()
    keys = [key for row in library.rows for key in row.values]
    assert len(keys) == 93 and all(row.source for row in library.rows)
    assert {key.partition(":")[0] for key in keys} == set(library.quantities)
    assert all(library.quantity(key) and library.protocol(key) for key in keys)
    used = {re.sub(r"\.[^:]*", "", key) for key in keys}
    assert used == set(library.protocols) and used > set(library.families)
    assert set(library.families.values()) == {"vit"}
    # The file is in the wheel.
    assert f'"report/{FILE.name}"' in (ROOT / "pyproject.toml").read_text()


def test_the_suites_name_quantities_that_exist_and_the_toy_world_none():
    named = {}
    for name in suite_names():
        metrics = [metric for task in load_suite(name).tasks for metric in task.metrics]
        named[name] = [metric.published for metric in metrics if metric.published]
    assert not named["toy"] and not named["cifar10"] and len(named["paper"]) > 20
    for keys in named.values():
        assert all(":" in k and k.partition(":")[0] in published().quantities for k in keys)
    # DINO's frozen features, and MAE's plain detector, are other protocols than the suite's.
    assert not {"semi.1:frozen", "coco.box:mae", "linear:dino-4-blocks"} & {*named["paper"]}


def test_all_numbers_of_a_quantity_stand_apart_with_protocol_and_source(folder):
    suite = with_keys(write_suite(folder))
    data = data_of(folder, suite, beside=False)
    table = texts(data["published"])
    assert len(table) == 1 + 11 + 2  # linear, and J & F
    assert [
        "DINO, 10 crops", "ViT-S/16", "300", "76.1", "ImageNet-1k, linear probe, top-1 (%)",
        "DINO's for ViT-S: [CLS] of the last four blocks", "", f"{PAPER}2",
    ] in table  # fmt: skip
    [same] = [row for row in table if row[1] == "ViT-B/16" and row[-2] == "kNN, top-1"]
    assert same[0] == "DINO" and same[3] == "78.2"
    assert all(row[-1] for row in table)
    # Nothing of it is measured.
    write_report(suite, folder)
    files = {path.name: path.read_text() for path in (folder / "report").iterdir()}
    assert Page(files["index.html"]).tables["Published"] == table
    parts = files["report.md"].split("## ")
    assert [p.split("\n")[0] for p in parts[1:3]] == ["Measured", "Published, not measured here"]
    assert "MAE" not in parts[1] and "MAE" in parts[2] and "| A |" not in parts[2]
    assert "MAE" not in files["leaderboard.csv"] + files["records.csv"]
    assert len(data["leaderboard"]["rows"]) == 2


def test_beside_the_measured_are_numbers_of_the_same_protocol_only(folder):
    suite = with_keys(write_suite(folder))
    data = data_of(folder, suite)
    assert texts(data["leaderboard"]) == [
        ["model", "kNN, top-1", "Video, J&F", "Video, error"],
        ["A", "*20.0", "", ""],
        ["B", "10.0", "50.0", "3.00"],
        # Higher than what was measured, but not bold.
        ["DINO, ViT-B/16", "78.2", "", ""],
        ["DINO, ViT-B/16", "", "62.3", ""],
        ["DINO, ViT-S/16", "", "61.8", ""],
    ]
    marks = [row[0].get("published") for row in data["leaderboard"]["rows"]]
    assert marks == [None, None, f"{PAPER}2", f"{PAPER}6", f"{PAPER}6"]
    knn, video = data["tasks"]
    assert texts(knn["table"])[-1] == ["DINO, ViT-B/16", "78.2", "", ""]
    assert [row[0] for row in texts(video["table"])[2:]] == ["DINO, ViT-B/16", "DINO, ViT-S/16"]
    write_report(suite, folder, published=True)
    page = (folder / "report/index.html").read_text()
    assert page.count('<tr class="published">') == 3 + 1 + 2
    assert f"published: {PAPER}6" in page
    text = (folder / "report/report.md").read_text().split("## ")[1]
    assert text.startswith("Measured and published")
    assert f"| DINO, ViT-B/16 (published: {PAPER}2) | 78.2 |" in text
    # Another protocol of the same quantity, or none that is named, has nothing beside it.
    for key in ("linear:other", "linear"):
        found = data_of(folder, with_keys(write_suite(folder), key, ""))
        assert len(found["leaderboard"]["rows"]) == 2 and len(found["published"]["rows"]) == 11


@pytest.mark.parametrize(
    "changes, shown",
    [
        (dict(limit=16), False),
        (dict(options={"test_cfg.k": "[7]"}), False),
        (dict(options={"test_dataloader.batch_size": "8", "test_cfg.bank.batch_size": "8"}), True),
        (dict(pixels=448), False),
        # linear:dino is for ViT-B; in a task with one config for all, the variant does not tell.
        (dict(family="cnn"), False),
        (dict(family=None), False),
        (dict(family=None, variant="vit"), True),
    ],
)
def test_a_task_that_ran_in_another_way_has_none_beside_it(changes, shown, folder):
    record = made(folder, "A", "knn", 0, KNN, **{"family": "vit", **changes})
    if "pixels" in changes:
        record["model"]["size"] = changes["pixels"]
        write_json(record_path(folder, "A", "knn", 0), record)
    board = data_of(folder, with_keys(write_suite(folder)))["leaderboard"]
    assert ("78.2" in {cell for row in texts(board) for cell in row}) is shown
    assert ("None for knn, run on fewer images" in board["caption"]) is not shown
    assert len(board["rows"]) == 4 + shown


@pytest.mark.parametrize("batch, shown", [(1024, True), (128, False), (None, False)])
def test_a_training_has_them_only_with_the_batch_in_the_name_of_its_config(batch, shown, folder):
    """The rate is scaled to another batch, but the protocol is not the published one."""
    for model in "AB":
        protocol = {} if batch is None else {"batch": batch}
        made(folder, model, "knn", 0, KNN, protocol=protocol, family="vit")
    suite = with_keys(write_suite(folder))
    config = {"any": Path("vit-base-p16_8xb128-linear-dino-coslr-100e_in1k.py")}
    training = replace(suite.tasks[0], kind="train", config=config)
    board = data_of(folder, replace(suite, tasks=(training, suite.tasks[1])))["leaderboard"]
    assert ("78.2" in {cell for row in texts(board) for cell in row}) is shown
    assert ("None for knn, run on fewer images" in board["caption"]) is not shown


def test_numbers_of_frozen_features_stand_beside_every_backbone(folder):
    made(folder, "A", "knn", 0, KNN, family="cnn")
    board = data_of(folder, with_keys(write_suite(folder), "transfer.cifar10:byol"))["leaderboard"]
    assert "BAM, ResNet-50" in {row[0] for row in texts(board)}
