"""Intervals in records, and comparisons of two models: in the tables, on the page, as a command."""

import csv
import math
import sys

import numpy as np
import pytest

from bam_mm import InputError
from bam_mm.cli import benchmark
from bam_mm.evaluation import UnitScores
from bam_mm.protocols.unit_scores import UnitTable, write_units
from bam_mm.report import write_report
from bam_mm.report.comparisons import comparison_table
from bam_mm.report.data import report_data
from bam_mm.suite import comparing
from bam_mm.suite.comparing import compare, compare_models
from bam_mm.suite.intervals import intervals
from bam_mm.suite.records import read_records, run_folder
from tests.report.made_records import made, write_suite

IMAGES = 400
TOP1 = "knn_k20/top1"
Z = 1.959964


def names(count=IMAGES):
    return tuple(f"{number:04d}.jpg" for number in range(count))


def right(first, last, count=IMAGES):
    """The images from ``first`` up to ``last`` are right."""
    place = np.arange(count)
    return (first <= place) & (place < last)


def run(folder, model, hits, seed=0, order=None, kept=True, **changes):
    """A run of the task knn with the scores of its images, in ``order``."""
    order = np.arange(len(hits)) if order is None else order
    where = run_folder(folder, model, "knn", seed)
    scores = {TOP1: UnitScores(hits[order], scale=100)}
    table = UnitTable("images", tuple(np.array(names(len(hits)))[order]), scores)
    metrics = {TOP1: 100 * hits.mean(), "knn_k10/top1": 1.0}
    if kept:
        write_units(where / "knn/units.npz", table)
        changes.setdefault("intervals", intervals(where, metrics))
    return made(folder, model, "knn", seed, metrics, **changes)


def video_run(folder, model, error, seed=0, videos=12):
    """A run of the task video whose metric ``davis/error`` should be low; 2 objects a video."""
    where = run_folder(folder, model, "video", seed)
    counts = np.full(videos, 2)
    jf = UnitScores(np.linspace(0.9, 1.1, videos), counts)
    scores = {"davis/J&F": jf, "davis/error": UnitScores(counts * error, counts)}
    write_units(where / "davis/units.npz", UnitTable("videos", names(videos), scores))
    metrics = {key: score.value for key, score in scores.items()}
    return made(
        folder, model, "video", seed, metrics, intervals=intervals(where, metrics)
    )  # fmt: skip


def test_records_have_the_interval_its_method_and_the_number_of_images(tmp_path):
    record = run(tmp_path, "A", right(0, 300))
    found = record["intervals"]
    assert list(found) == [TOP1]  # Nothing is known of the images with k=10.
    low, high = found[TOP1].pop("interval")
    error = 100 * math.sqrt(0.75 * 0.25 / IMAGES)
    assert low == pytest.approx(75 - Z * error, abs=0.1 * Z * error)
    assert high == pytest.approx(75 + Z * error, abs=0.1 * Z * error)
    assert found[TOP1] == {
        "level": 0.95, "method": "percentile bootstrap, 2000 draws, seed 0", "units": IMAGES,
        "kind": "images",
    }  # fmt: skip


def test_there_is_no_interval_for_few_images_and_for_those_of_another_score(tmp_path):
    few = run(tmp_path, "few", right(0, 5, count=9))["intervals"][TOP1]
    assert few["interval"] is None and few["reason"] == "9 images; an interval needs 10"
    run(tmp_path, "A", right(0, 300))
    where = run_folder(tmp_path, "A", "knn", 0)
    found = intervals(where, {TOP1: 75.5})[TOP1]
    assert found["interval"] is None
    assert found["reason"] == "the images add up to 75, the metric is 75.5"
    # mmseg rounds.
    assert intervals(where, {TOP1: 75.0049})[TOP1]["interval"] is not None
    assert intervals(tmp_path / "nowhere", {TOP1: 75.0}) == {}


def suite_and_knn(folder):
    suite = write_suite(folder)
    return suite, suite.choose(["knn"])[0]


def test_models_are_compared_on_the_same_images(tmp_path):
    _, task = suite_and_knn(tmp_path)
    a = run(tmp_path, "A", right(0, 300))
    rng = np.random.default_rng(0)
    # B has 12 more right and 2 fewer, C has 6 other ones right; B's images are in another order.
    b = run(tmp_path, "B", right(2, 312), order=rng.permutation(IMAGES))
    c = run(tmp_path, "C", right(3, 303))
    [[better], [equal]] = compare(task, a, [b, c], tmp_path)
    assert (better.first, better.second, better.units) == (75, 77.5, IMAGES)
    assert better.difference.value == pytest.approx(2.5)
    # 14 images differ: the variance of a difference is 14 / 400 - 0.025^2.
    error = 100 * math.sqrt((14 / IMAGES - 0.025**2) / IMAGES)
    assert better.difference.low == pytest.approx(2.5 - Z * error, abs=0.1 * Z * error)
    assert better.difference.high == pytest.approx(2.5 + Z * error, abs=0.1 * Z * error)
    assert (better.test.only_first, better.test.only_second) == (2, 12)
    # 2 (1 + 14 + 91) / 2^14
    assert better.test.p == 212 / 2**14 and better.verdict == "better"
    assert equal.verdict == "not told apart" and equal.test.p == 1
    [[worse]] = compare(task, b, [a], tmp_path)
    assert worse.verdict == "worse" and worse.difference.value == pytest.approx(-2.5)


def test_what_was_tested_in_another_way_is_not_compared(tmp_path):
    suite, task = suite_and_knn(tmp_path)

    def with_bank(batch_size):
        bank = {"batch_size": batch_size, "dataset": {"split": "train"}}
        return {"test_cfg": {"k": [10, 20], "bank": bank}}

    a = run(tmp_path, "A", right(0, 300), protocol=with_bank(8), family="vit")
    fewer = {"test_cfg": {"k": [20]}}
    others = [
        run(tmp_path, "B", right(0, 300, count=401), protocol=with_bank(8)),
        run(tmp_path, "C", right(0, 300), data={"seed": 1}, protocol=with_bank(8)),
        run(tmp_path, "D", right(0, 300), protocol=fewer),
        run(tmp_path, "old", right(0, 300), kept=False, protocol=with_bank(8)),
        # The batch in which features are extracted changes no score.
        run(tmp_path, "F", right(0, 300), protocol=with_bank(32)),
        # The task has a config for each family now, of which one is not that of A.
        run(tmp_path, "G", right(0, 300), protocol=fewer, variant="vit", family="vit"),
        run(tmp_path, "H", right(0, 300), protocol=fewer, variant="cnn", family="cnn"),
    ]
    images, data, protocol, old, other_batch, own, other_family = compare(task, a, others, tmp_path)
    assert "tested on different images" in str(images) and "1 only by the second" in str(images)
    assert "0400.jpg" in str(images) and "data.seed: (not set) -> 1" in str(data)
    assert "test_cfg.k: [10, 20] -> [20]" in str(protocol) and old == []
    assert str(own) == str(protocol).replace(" D ", " G ")
    for found in (other_batch, other_family):
        assert [comparison.verdict for comparison in found] == ["not told apart"]
    with pytest.raises(InputError, match="different images"):
        compare_models(suite.tasks, "A", "B", tmp_path)
    with pytest.raises(InputError, match="no record of a model 'E': use A, B, C, D, F, "):
        compare_models(suite.tasks, "A", "E", tmp_path)
    with pytest.raises(InputError, match="'A' would be compared with itself"):
        compare_models(suite.tasks, "A", "A", tmp_path)
    for second, seed in (("old", 0), ("B", 1)):
        with pytest.raises(InputError, match="choose another --seed, or delete the records"):
            compare_models(suite.tasks, "A", second, tmp_path, seed=seed)


def text_of(cell):
    return f"{cell['text']} {cell.get('interval', '')}".strip()


def test_tables_and_page_show_intervals_and_what_is_not_told_apart(tmp_path):
    suite, _ = suite_and_knn(tmp_path)
    first, second = (run(tmp_path, "A", right(0, n), seed=s) for s, n in ((0, 300), (1, 320)))
    run(tmp_path, "B", right(3, 299))
    run(tmp_path, "C", right(100, 300))
    run(tmp_path, "old", right(0, 290), kept=False)
    for model, error in (("A", 3.0), ("B", 2.0)):
        video_run(tmp_path, model, error)
    data = report_data(suite, read_records(tmp_path), tmp_path)
    ends = [record["intervals"][TOP1]["interval"] for record in (first, second)]
    low, high = ((x + y) / 2 for x, y in zip(*ends, strict=True))
    cells = {row[0]["text"]: [text_of(cell) for cell in row[1:]] for row in
             data["leaderboard"]["rows"]}  # fmt: skip
    assert cells["A"][0] == f"77.5 ± 3.5 [{low:.1f}, {high:.1f}]"
    assert cells["B"][0].startswith("74.0 [6") and cells["old"][0] == "72.5"
    assert cells["A"][1].startswith("50.0 [") and cells["A"][2] == "3.00 [3.00, 3.00]"
    assert "In brackets: 95 % bootstrap interval" in data["leaderboard"]["caption"]

    knn, video = (task["comparison"] for task in data["tasks"])
    rows = [[text_of(cell) for cell in row] for row in knn["rows"]]
    # Against the best model at the first seed of both: 75 % of A, 74 % of B with 4 fewer, 50 %.
    assert [row[:3] for row in rows] == [["B", "top-1", "A"], ["C", "top-1", "A"]]
    # The interval leaves out 0, but four images of which A has all prove nothing: 2 / 2^4.
    assert rows[0][3].startswith("-1.0 [-2.0, -0.")
    assert rows[0][4:] == ["0.12", "not told apart", "0"]
    assert rows[1][3].startswith("-25.0 [-29") and rows[1][5] == "worse"
    rows = [[text_of(cell) for cell in row] for row in video["rows"]]
    assert rows[0][:3] == ["B", "J&F", "A"] and rows[0][4:6] == ["", "not told apart"]
    # Of errors, the lower one is the best.
    assert rows[1][:3] == ["A", "error", "B"] and rows[1][3] == "+1.00 [+1.00, +1.00]"
    assert rows[1][5] == "worse"

    write_report(suite, tmp_path)
    page = (tmp_path / "report/index.html").read_text()
    assert f'<span class="interval">[{low:.1f}, {high:.1f}]</span>' in page
    assert "not told apart" in page and page.count("differences on the same images") == 2
    text = (tmp_path / "report/report.md").read_text()
    assert f"| A | **77.5 ± 3.5 \\[{low:.1f}, {high:.1f}\\]** |" in text
    rows = list(csv.DictReader((tmp_path / "report/leaderboard.csv").open()))
    assert float(rows[0][f"knn:{TOP1} low"]) == pytest.approx(low)
    assert rows[-1]["model"] == "old" and rows[-1][f"knn:{TOP1} high"] == ""
    rows = list(csv.DictReader((tmp_path / "report/records.csv").open()))
    assert [float(rows[0][end]) for end in ("low", "high")] == pytest.approx(ends[0])
    assert rows[1]["low"] == ""


def test_each_difference_is_computed_once(tmp_path, monkeypatch):
    """Two metrics with the same best model share a bootstrap; another best one has its own."""
    suite = write_suite(tmp_path)
    video = suite.choose(["video"])[0]
    drawn = []
    kept = comparing.paired_bootstraps
    monkeypatch.setattr(
        comparing, "paired_bootstraps", lambda pairs: drawn.append([*pairs]) or kept(pairs)
    )
    for best in ("A", "B"):
        for model in "AB":
            video_run(tmp_path, model, 2.0 if model == best else 3.0)
        # Of equal J&F, the first model is the best.
        table = comparison_table(video, read_records(tmp_path), tmp_path)
        assert len(table["rows"]) == 2
    both, *single = drawn
    assert both == [(0, "davis/J&F"), (0, "davis/error")]
    assert single == [[(0, "davis/J&F")], [(0, "davis/error")]]


def test_another_test_set_does_not_stop_the_page(tmp_path):
    suite, _ = suite_and_knn(tmp_path)
    run(tmp_path, "A", right(0, 300))
    run(tmp_path, "B", right(0, 200, count=300))
    write_report(suite, tmp_path)
    page = (tmp_path / "report/index.html").read_text()
    assert "not compared: task knn: A and B were tested on different images" in page


def test_the_command(tmp_path, monkeypatch, capsys):
    suite = write_suite(tmp_path)
    run(tmp_path, "A", right(0, 300))
    run(tmp_path, "B", right(2, 312))
    for model in "AB":
        video_run(tmp_path, model, 2.0)
    line = ["x", "compare", str(tmp_path / "small.py"), "A", "B", "--work-dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", line)
    assert benchmark.main() == 0
    lines = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in line[1:-1]] for line in lines]
    assert [row[:4] for row in rows] == [
        ["knn", "top-1", "75.0", "77.5"],
        ["video", "J&F", "50.0", "50.0"],
        ["video", "error", "2.00", "2.00"],
    ]
    assert rows[0][4].startswith("+2.5 [+0.") and rows[0][5:] == [
        "2 : 12", "0.013", "400 images", "better",
    ]  # fmt: skip
    assert rows[1][4:] == ["+0.0 [+0.0, +0.0]", "", "", "12 videos", "not told apart"]
    monkeypatch.setattr(sys, "argv", [*line, "--tasks", "video"])
    assert benchmark.main() == 0 and "top-1" not in capsys.readouterr().out
    assert suite.name == "small"


# Which of the 500 test images of the toy world of scale 0.5 kNN (k=20) has right, as measured: with
# random weights, and with BAM after 3 and 4 epochs.
TOY = {
    "random": (
        "8968058400e4a80f11d3f2c44aabe5eefb7cbf7de5d6fbdefb4fbffe0601c230581913ffffffffff"
        "fffe60044004205f02f8de352de7fb3a440a0022641040"
    ),
    "earlier": (
        "d97b6686fce6b9ffefdfbf97cfd9fffefffffffffdd5ffeefefab57f7dcf23f80c30b7ffffffffff"
        "fffff61ffaa67df7fffbff7f7dfffffde67e556850fe70"
    ),
    "BAM": (
        "db7b6686fcf7b9ffffdf3f97efd9fffefffffffffdd5ffeef7fa71777fcf23f91c34b7ffffffffff"
        "fffff61ffea67cf7dffbff7f7dfffffde27c55ab50de70"
    ),
}


def test_bam_and_random_weights_are_told_apart_in_the_toy_world_and_two_epochs_are_not(tmp_path):
    _, task = suite_and_knn(tmp_path)
    hits = {
        name: np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:500].astype(bool)
        for name, text in TOY.items()
    }
    records = {name: run(tmp_path, name, answers) for name, answers in hits.items()}
    assert [round(100 * answers.mean(), 1) for answers in hits.values()] == [52.2, 77.2, 78.0]
    bam = records.pop("BAM")
    [[random], [earlier]] = compare(task, bam, list(records.values()), tmp_path)
    assert random.difference.value == pytest.approx(-25.8)
    assert random.verdict == "worse" and random.test.p < 1e-20
    assert (random.test.only_first, random.test.only_second) == (157, 28)
    assert earlier.difference.value == pytest.approx(-0.8)
    assert earlier.verdict == "not told apart"
    assert earlier.difference.low == pytest.approx(-2.8, abs=0.3)
    # The formula of a paired difference: 185 and 26 images differ.
    for found, differ in ((random, 185), (earlier, 26)):
        error = 100 * math.sqrt((differ / 500 - (found.difference.value / 100) ** 2) / 500)
        width = found.difference.high - found.difference.low
        assert width == pytest.approx(2 * Z * error, rel=0.1)
        apart = 100 * math.sqrt(
            2 * 0.78 * 0.22 / 500
        )  # On two test sets, even for two such models.
        assert width < 2 * Z * apart
