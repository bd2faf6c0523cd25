"""The report: its numbers as data, and the structure and escaping of the page made from them."""

import csv
import json
import math
import re

import numpy as np
import pytest
from PIL import Image

from bam_mm import InputError
from bam_mm.report import write_report
from bam_mm.report.chart import scatter_chart
from bam_mm.report.page import render_page
from bam_mm.report.summary import leaderboard
from bam_mm.suite.records import read_records
from tests.report.made_records import made, write_suite
from tests.report.reading import EVIL, data_of, report, texts


@pytest.fixture
def folder(tmp_path):
    for seed, value in ((0, 80.0), (1, 84.0)):
        made(tmp_path, "A", "knn", seed, {"knn_k20/top1": value, "knn_k10/top1": value - 1})
    for seed, value in ((0, 70.0), (1, 71.0), (2, 75.0)):
        made(tmp_path, "B", "knn", seed, {"knn_k20/top1": value, "knn_k10/top1": 50.0})
    made(tmp_path, "B", "video", 0, {"davis/J&F": 0.5, "davis/error": 3.0})
    made(tmp_path, "C", "video", 0, {"davis/J&F": 0.5001, "davis/error": 2.0})
    made(tmp_path, "A", "video", 0, {}, status="failed", message=f"no maps {EVIL}")
    return tmp_path


def test_mean_and_deviation_match_those_computed_by_hand(folder):
    suite, files, _ = report(folder)
    knn = leaderboard(suite, read_records(folder))[0].cells
    assert (knn["A"].mean, knn["A"].seeds) == (82.0, 2)
    # (80 - 82)^2 + (84 - 82)^2 = 8, over n - 1 = 1; for B (4 + 1 + 9) / 2 around 72.
    assert knn["A"].std == pytest.approx(math.sqrt(8))
    assert knn["B"].mean == 72.0 and knn["B"].std == pytest.approx(math.sqrt(7))
    rows = list(csv.DictReader(files["leaderboard.csv"].splitlines()))
    assert [row["model"] for row in rows] == ["A", "B", "C"]
    assert float(rows[0]["knn:knn_k20/top1 std"]) == pytest.approx(math.sqrt(8))
    assert rows[1]["video:davis/J&F mean"] == "50.0"
    # One seed has no deviation, which is not the same as zero.
    assert rows[1]["video:davis/J&F std"] == "" and rows[1]["video:davis/J&F seeds"] == "1"
    assert "| A | **82.0 ± 2.8** |  |  |" in files["report.md"]


def test_models_have_one_order_and_one_point_is_no_curve(tmp_path):
    early = {"seconds": 1.0, "starts": 1, "finished": "3"}
    late = {"seconds": 9.0, "starts": 1, "finished": "9"}
    once, twice = {"loss": [[1, 2.0], [2, 1.0]], "a/map_l": [[6, -1.0]]}, {"loss": [[1, 3.0]]}
    for task, metrics in (
        ("knn", {"knn_k20/top1": 5.0, "knn_k10/top1": 4.0}),
        ("video", {"davis/J&F": 0.5, "davis/error": 3.0}),
    ):
        # In parallel: B, named second, finished earlier.
        made(tmp_path, "A", task, 0, metrics, time=late, place=0, training=once)
        made(tmp_path, "B", task, 0, metrics, time=early, place=1, training=twice)
    _, files, _ = report(tmp_path)
    tables = re.findall(r"<tbody>(.*?)</tbody>", files["index.html"], flags=re.S)
    orders = [re.findall(r'<th scope="row"[^>]*>([AB])<', table) for table in tables]
    assert [o for o in orders if o] and all(o == ["A", "B"] for o in orders if len(o) == 2)
    assert "loss while training" in files["index.html"]
    assert "map_l" not in files["index.html"]


def test_a_missing_number_is_an_empty_cell_and_the_best_is_bold(folder):
    _, files, page = report(folder)
    table = data_of(folder)["leaderboard"]
    # Equal as displayed: both are best. Of errors the lower one is.
    assert texts(table) == [
        ["model", "kNN, top-1", "Video, J&F", "Video, error"],
        ["A", "*82.0 ± 2.8", "", ""],
        ["B", "72.0 ± 2.6", "*50.0", "3.00"],
        ["C", "", "*50.0", "*2.00"],
    ]
    assert page.tables["Measured here"] == texts(table)
    # Columns are sorted by the unrounded number; the first click puts the best one on top.
    values = [[cell["value"] for cell in row[1:]] for row in table["rows"]]
    assert values == [[82.0, None, None], [72.0, 50.0, 3.0], [None, 100 * 0.5001, 2.0]]
    assert [head["first"] for head in table["heads"][1:]] == ["descending"] * 2 + ["ascending"]
    cells = [given for tag, given in page.tags if "data-value" in given][:12]
    assert [cell["data-value"] for cell in cells[5:8]] == ["72.0", "50.0", "3.0"]
    assert cells[2]["data-value"] == ""
    rows = list(csv.DictReader(files["leaderboard.csv"].splitlines()))
    assert rows[0]["video:davis/J&F mean"] == "" == rows[2]["knn:knn_k20/top1 mean"]


def test_what_comes_from_outside_is_text(folder):
    strip = folder / "runs/strip.png"
    strip.parent.mkdir()
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(strip)
    made(
        folder, EVIL, "video", 0, {"davis/J&F": 0.9, "davis/error": 1.0}, slug="evil",
        pictures=[{"path": "runs/strip.png", "caption": EVIL}],
    )  # fmt: skip
    made(
        folder, EVIL, "knn", 0, {"knn_k20/top1": 9.0, "knn_k10/top1": 8.0}, slug="evil",
        curves=[{"labels": ["k", "top-1 (%)"], "log": True, "x": [10, 20], "y": [[8.0, 9.0]]}],
    )  # fmt: skip
    _, files, page = report(folder)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, given in page.tags for name in given)
    assert [row[0] for row in page.tables["Measured here"]].count(EVIL) == 1
    failed = page.tables["Runs that failed; the next call tries them again"]
    assert failed == texts(data_of(folder)["failures"])
    assert failed[1:] == [["A", "video", "0", f"no maps {EVIL}"]]
    assert page.alts and all(page.alts) and EVIL in page.alts[0]
    # A pipe in a name makes no column, and no name becomes a tag.
    for line in files["report.md"].splitlines():
        if line.startswith("| ") and "alert" in line and "no maps" not in line:
            assert line.count("|") in (4, 5) and "<script" not in line


def test_the_page_needs_nothing_and_can_be_used_without_a_mouse(folder):
    made(
        folder, "A", "knn", 0, {"knn_k20/top1": 80.0, "knn_k10/top1": 79.0},
        curves=[{"labels": ["k", "top-1 (%)"], "log": True, "x": [10, 20], "y": [[79.0, 80.0]]}],
        training={"loss": [[1, 2.0], [2, 1.0]]},
    )  # fmt: skip
    _, files, page = report(folder)
    ids = {given["id"] for _, given in page.tags if "id" in given}
    for link in page.links:
        assert link.startswith("data:") or (link.startswith("#") and link[1:] in ids), link
    text = files["index.html"].replace("http-equiv", "")
    assert "http" not in text and "@import" not in text and "url(" not in text
    heads = [given for tag, given in page.tags if tag == "th" and given.get("scope") == "col"]
    buttons = [given for tag, given in page.tags if tag == "button"]
    copies = [given for given in buttons if given.get("class") == "copy"]
    assert len(heads) == len(buttons) - 2 > 10 and all(h["aria-sort"] == "none" for h in heads)
    assert len(copies) == 2 and {given["data-source"] for given in copies} < ids
    names = [tag for tag, _ in page.tags]
    assert names.count("table") == names.count("caption") and {"main", "nav", "h1"} <= {*names}
    scrolls = [given for _, given in page.tags if given.get("class") == "scroll"]
    assert all(given["tabindex"] == "0" and given["aria-label"] for given in scrolls)
    charts = [given for tag, given in page.tags if tag == "svg" and given.get("role") == "img"]
    assert [chart["aria-label"].split(".")[0] for chart in charts] == [
        "top-1 (%) over k", "loss while training over iteration",
    ]  # fmt: skip
    assert "A: from 79 at 10 to 80 at 20" in charts[0]["aria-label"]


def test_the_page_is_made_of_plain_data(folder):
    """Everything on the page survives JSON, also a number that JSON has no word for."""
    made(folder, "D", "video", 0, {"davis/J&F": 0.1, "davis/error": math.nan})
    made(
        folder, "D", "knn", 0, {"knn_k20/top1": 80.0}, training={"loss": [[1, math.nan], [2, 1.0]]},
    )  # fmt: skip
    data = data_of(folder)
    copy = json.loads(json.dumps(data, allow_nan=False))
    assert copy == data
    assert data["leaderboard"]["rows"][3][3] | {"best": False} == {
        "text": "nan", "value": "nan", "kind": "number", "best": False
    }  # fmt: skip
    assert data["tasks"][0]["charts"][0]["series"] == {"D": [[2, 1.0]]}
    page = render_page(data)
    assert render_page(copy) == page
    assert re.findall(r'<section id="(\w+)"', page) == [
        "leaderboard", "published", "failures", "tasks", "cost", "provenance"
    ]  # fmt: skip


def test_curves_are_means_over_seeds_and_pictures_of_the_first_seed(tmp_path):
    folder = tmp_path
    for seed, tops in ((0, [70.0, 80.0]), (1, [74.0, 82.0])):
        curves = [{"labels": ["k", "top-1 (%)"], "log": True, "x": [10, 20], "y": [tops]}]
        Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(folder / f"{seed}.png")
        pictures = [{"path": f"{name}.png", "caption": "a strip"} for name in (seed, "missing")]
        made(
            folder, "A", "knn", seed, {"knn_k20/top1": tops[1]}, curves=curves, pictures=pictures,
            adapted=["head.in_channels: 768 -> 96"],
        )  # fmt: skip
    (folder / "pictures").mkdir()
    (folder / "0.png").rename(folder / "pictures/attention_of_A.png")
    (folder / "pictures/notes.txt").write_text("no picture")
    data = data_of(folder)
    [task] = data["tasks"]
    assert task["charts"] == [
        {
            "series": {"A": [[10, 72.0], [20, 81.0]]},
            "x_label": "k",
            "y_label": "top-1 (%)",
            "log": True,
            "order": ["A"],
        }
    ]
    assert task["pictures"] == []  # Seed 0's is gone, and that of seed 1 does not replace it.
    assert [p["caption"] for p in data["pictures"]] == ["attention of A"]
    assert task["fitted"] == ["A: head.in_channels: 768 -> 96"]
    assert texts(task["table"]) == [
        ["model", "top-1", "top-1, k=10", "seeds"], ["A", "81.0 ± 1.4", "", "0 1"]
    ]  # fmt: skip


def test_cost_and_provenance(tmp_path):
    for seed, seconds in ((0, 1000.0), (1, 3000.0)):
        made(
            tmp_path, "A", "knn", seed, {"knn_k20/top1": 1.0}, limit=16, processes=2,
            time={"seconds": seconds, "starts": 1 + seed, "finished": "x"},
            git={"commit": 40 * "c", "changed": seed == 1},
            memory={"peak_mb": 2048.0, "peak_gpu_mb": None}, devices=["cuda:0"],
            preprocessing={"mean": 3 * [127.5], "std": 3 * [1], "source": "timm"},
        )  # fmt: skip
    data = data_of(tmp_path)
    assert data["limits"] == [16]
    [cost] = data["cost"]
    # The deviation of 1000 and 3000 is 1000 * sqrt(2).
    assert texts(cost["table"])[1] == [
        "kNN", "A", "2000 ± 1414", "2,048 ± 0", "", "2 x cuda:0", "1"
    ]  # fmt: skip
    assert texts(data["provenance"]["models"])[1] == [
        "A", "bam:/A.pth", "mmpretrain.ResNet , teacher", "all 12 tensors (BAM)", 12 * "a",
        "mean (127.5, 127.5, 127.5), std (1, 1, 1), RGB, from timm",
    ]  # fmt: skip
    assert data["provenance"]["facts"] == {
        "suite": "small; tasks knn, video",
        "commit": f"{12 * 'c'} | {12 * 'c'} with changes",
        "machine": "y, 2 cores",
        "devices": "cuda:0",
        "versions": "torch 2",
    }
    _, files, _ = report(tmp_path)
    for name in ("index.html", "report.md"):
        assert "Quick try: at most 16 images per data set" in files[name]


def test_what_a_model_costs_and_its_score_against_it(tmp_path):
    none = dict.fromkeys(("images_per_s", "read_images_per_s", "peak_mb", "peak_gpu_mb"))
    small = dict(size=[64, 96], parameters=5_500_000, gmacs=1.25, **none)
    large = {**small, "parameters": 86_000_000, "gmacs": 125.0, "images_per_s": 1200.0}
    large |= dict(read_images_per_s=300.0, peak_mb=900.0)
    knn, video = {"knn_k20/top1": 80.0}, {"davis/J&F": 0.5, "davis/error": 1.0}
    ends = {"knn_k20/top1": {"interval": [78.0, 82.0]}}
    made(tmp_path, "A", "knn", 0, knn, cost=small, intervals=ends, precision="float32")
    # A model of two seeds of which the second read its features from the cache.
    for seed, cost in ((0, large), (1, {**large, **none})):
        made(
            tmp_path, EVIL, "knn", seed, {"knn_k20/top1": 82.0}, slug="evil", cost=cost,
            precision="tf32",
        )  # fmt: skip
    # A task that extracts no features, and a record of an earlier version.
    unknown = {**large, **none, "size": None, "gmacs": None}
    made(tmp_path, EVIL, "video", 0, video, slug="evil", cost=unknown)
    made(tmp_path, "old", "knn", 0, knn)
    data = data_of(tmp_path)
    models, runs = data["cost"]
    assert texts(models["table"])[1:] == [
        ["A", "96 x 64", "5.5", "1.25", "", "", "", "", "", "", "", "knn"],
        [EVIL, "96 x 64", "86.0", "125", "1,200", "300", "900", "", "tf32", "y", "", "knn"],
        [EVIL, "", "86.0", "", "", "", "", "", "", "", "", "video"],
    ]
    assert len(texts(runs["table"])) == 1 + 4 and runs["charts"] == []
    [chart] = models["charts"]  # Of video, there is one model only.
    assert chart["points"] == {"A": [1.25, 80.0, 78.0, 82.0], EVIL: [125.0, 82.0]}
    drawn = scatter_chart(**chart)
    assert drawn.count("<circle") == 4 and drawn.count("whole") == 1  # with those of the legend
    assert "<title>A: 80 at 1.25, interval 78 to 82</title>" in drawn
    page = report(tmp_path)[2]
    svg = [given for tag, given in page.tags if tag == "svg" and given.get("role") == "img"]
    wanted = f"kNN, top-1 against {chart['x_label']}. A: 80 at 1.25; {EVIL}: 82 at 125"
    assert [given["aria-label"] for given in svg] == [wanted]
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert scatter_chart({"a": [0.0, 1.0]}, x_label="x", y_label="y", log=True) == ""


def test_speeds_of_different_conditions_are_not_averaged(tmp_path):
    cost = dict(size=[64, 96], parameters=10**6, gmacs=1.0, read_images_per_s=None)
    cost |= dict(peak_mb=100.0, peak_gpu_mb=None)
    one, four = dict(threads=1, sharing=1), dict(threads=1, sharing=4)
    other, gpu = {"system": "x", "cpu": "z", "cores": 2}, ["NVIDIA H100"]
    runs = [
        (100.0, one, {}),
        (110.0, one, {}),
        (40.0, four, {}),
        (300.0, one, dict(hardware=other)),
        (9000.0, one, dict(devices=gpu)),
        (8000.0, one, dict(devices=gpu, hardware=other)),
        (200.0, {}, {}),  # of an earlier version
    ]
    for seed, (speed, load, changes) in enumerate(runs):
        costs = {**cost, **load, "images_per_s": speed}
        made(tmp_path, "A", "knn", seed, {"knn_k20/top1": 80.0}, cost=costs, **changes)
    table = texts(data_of(tmp_path)["cost"][0]["table"])
    assert [[row[i] for i in (4, 9, 10)] for row in table[1:]] == [
        ["105 ± 7", "y", "1 x 1"],
        ["40", "y", "1 x 4"],
        ["300", "z", "1 x 1"],
        ["9,000", "NVIDIA H100 with y", "1 x 1"],
        ["8,000", "NVIDIA H100 with z", "1 x 1"],
        ["200", "y", ""],
    ]


def test_results_of_two_protocols_make_no_table(folder):
    made(folder, "D", "knn", 0, {"knn_k20/top1": 1.0}, protocol={"test_cfg": {"k": [20]}})
    with pytest.raises(InputError, match=r"two protocols: test_cfg\.k: \[10, 20\] -> \[20\]"):
        report(folder)
    # Another family may have another protocol, but not another seed of the same model, and not
    # another model of the family whose config was that of all families.
    vit = dict(protocol={"test_cfg": {"k": [20]}}, variant="vit", family="vit")
    made(folder, "D", "knn", 0, {"knn_k20/top1": 1.0}, **vit)
    report(folder)
    made(folder, "D", "knn", 1, {"knn_k20/top1": 1.0})
    with pytest.raises(InputError, match=r"D \(seed 0\) and D \(seed 1\) are of two protocols"):
        report(folder)
    made(folder, "D", "knn", 1, {"knn_k20/top1": 1.0}, **vit)
    report(folder)
    made(folder, "E", "knn", 0, {"knn_k20/top1": 1.0}, family="vit")
    with pytest.raises(InputError, match=r"D \(seed 0\) and E \(seed 0\) are of two protocols"):
        report(folder)
    with pytest.raises(InputError, match="holds no records"):
        write_report(write_suite(folder), folder / "elsewhere")
