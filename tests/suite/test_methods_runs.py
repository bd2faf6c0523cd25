"""Suites that pretrain, run to the end by workers that may be killed, and their report.

The workers are real processes, forked from the test; the runs are short commands.
"""

import csv
import json
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import pytest

from bam_mm import InputError
from bam_mm.launch import watching
from bam_mm.report import write_report
from bam_mm.report.data import report_data
from bam_mm.report.graphics import pretraining_charts
from bam_mm.report.methods import method_charts
from bam_mm.report.summary import columns
from bam_mm.suite import workers
from bam_mm.suite.records import read_records
from tests.suite.test_methods import RANDOM, runs
from tests.suite.test_running import record_of
from tests.suite.test_workers import ends, log_of, start, starts, wait_until

pytestmark = pytest.mark.slow

TASKS = ("knn", "cluster")
STUB = """
import ast, hashlib, json, os, pathlib, sys, time, zipfile
launch, folder, failing, tool, *arguments = sys.argv[1:]
sys.path.append(launch)
from watching import start_of

folder = pathlib.Path(folder)
work = pathlib.Path(arguments[arguments.index("--work-dir") + 1])
model, task, seed = work.parts[-3:]
worker = int(os.environ["BAM_MM_ENDS_WITH"].partition("@")[0])
claim = work.parents[3] / f"records/{model}/{task}/{seed}.claim"

def wait_for(what):
    while not what():
        if start_of(worker) is None:
            sys.exit(143)
        time.sleep(0.01)

def note(what):
    line = f"{what} {model}/{task}/{seed} {os.environ['BAM_MM_ENDS_WITH']}\\n"
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, line.encode())

def save(epoch):
    with zipfile.ZipFile(work / f"epoch_{epoch}.pth", "w") as file:
        file.writestr("weights", f"{model} {seed} {epoch} {time.time_ns()}")

def prove(weights):
    assert f"/{model}/pretrain/{seed}/epoch_2.pth" in weights, weights
    proof = {"loaded": 1, "layout": "x", "resized": [], "digest": "d"}
    proof["file_sha256"] = hashlib.sha256(pathlib.Path(weights).read_bytes()).hexdigest()
    (work / "loaded_backbone.json").write_text(json.dumps(proof))

wait_for(lambda: f'"pid": {os.getpid()},' in claim.read_text())
note("start")
if tool == "train" and task != "pretrain":
    assert "--resume" in arguments
    if not (work / "epoch_1.pth").exists():  # A run that is resumed does not load the backbone.
        config = pathlib.Path(arguments[0]).read_text().splitlines()
        [weights] = [line for line in config if line.startswith("checkpoint = ")]
        prove(ast.literal_eval(weights.partition(" = ")[2]))
        save(1)
elif tool == "train":
    assert "--resume" in arguments
    first = not (work / "epoch_1.pth").exists()
    save(1)
    hold = folder / f"hold-{model}-{seed}"
    wait_for(lambda: not hold.exists())
    if f"{model}/{seed}" in failing.split(","):
        sys.exit("error: features collapsed")
    save(2)
    # Two epochs of 4 steps; seed 1 takes twice as long, and is better by 10.
    n = int(seed[-1])
    lines = [{"knn/student_top1": 20.0, "step": 0}]
    for epoch in (1, 2):
        lines.append({"clock/seconds": 60.0 * epoch * (n + 1), "clock/epoch": epoch})
        lines.append({"loss": 5.0 - epoch, "lr": 0.1, "feature_std": 0.5})
        lines.append({"knn/student_top1": 30.0 + 10 * epoch + 10 * n})
        for line in lines[-3:]:
            line["step"] = 4 * epoch
    if model == "bam":
        for line in lines:
            if "knn/student_top1" in line:
                line["knn/teacher_top1"] = line["knn/student_top1"] + 1
    log = work / f"2026{0 if first else 1}" / "vis_data"
    log.mkdir(parents=True)
    (log / "scalars.json").write_text("".join(json.dumps(line) + "\\n" for line in lines))
    facts = {"processes": 1, "devices": ["cpu"], "peak_mb": 1100.0 + n, "peak_gpu_mb": None}
    # Fewer images than the batch of 64 in the config, as with --limit.
    facts["loaders"] = {"train": {"images": 48, "batch": 48}}
    (work / "train_facts.json").write_text(json.dumps(facts))
else:
    weights = arguments[1]
    if weights != "random" and task != "linear":
        prove(weights)
    (work / "test_facts.json").write_text('{"processes": 1, "devices": ["cpu"]}')
    value = 50.0 + 2 * int(seed[-1])
    keys = [f"knn_k{k}/top1" for k in (10, 20)]
    keys += [f"clustering_k9/{m}" for m in ("nmi", "ari")]
    keys += ["accuracy/top1", "accuracy/top5"]
    pathlib.Path(arguments[arguments.index("--out") + 1]).write_text(
        json.dumps(dict.fromkeys(keys, value)))
    if task == "cluster":
        rows = [{"classes": c, "nmi": 0.1 * c, "ari": 0.05 * c} for c in (2, 4)]
        (work / "clustering").mkdir(exist_ok=True)
        (work / "clustering/clustering.json").write_text(json.dumps(rows))
note("end")
"""
LAUNCH = Path(watching.__file__).parent


def stub(tool, arguments, *, launcher, processes, folder, failing=()):
    """Return a command that stands in for `bam-mm train` and `bam-mm test`."""
    line = [sys.executable, "-S", "-c", STUB, str(LAUNCH), str(folder), ",".join(failing), tool]
    return [*line, *arguments]


def run_all(plan, folder, failing=()):
    tool, lines = partial(stub, folder=folder, failing=failing), []
    missing = workers.run_all(plan, lines.append, jobs=1, longest_pause=0.1, tool=tool)
    return missing, lines


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A plan of two methods, a model and two seeds, of which one pretraining fails, and its log."""
    out = tmp_path_factory.mktemp("methods")
    plan = runs(out, tasks=TASKS, models=(RANDOM,))
    missing, lines = run_all(plan, out, failing=("bam-no-teacher/seed1",))
    return out, plan, missing, lines


def test_a_failed_pretraining_is_named_in_the_rows_that_needed_it(done):
    out, plan, missing, lines = done
    lost = {str(run): record_of(run)["message"] for run in plan
            if record_of(run)["status"] == "failed"}  # fmt: skip
    why = "the pretraining of BAM without teacher with seed 1 failed: features collapsed"
    assert missing == 3 and lost == {
        "pretrain, BAM without teacher, seed 1": "features collapsed",
        "knn, BAM without teacher, seed 1": why,
        "cluster, BAM without teacher, seed 1": why,
    }
    assert [line for line in lines if "NOT RUN" in line] == [
        f"[8/16] knn, BAM without teacher, seed 1: NOT RUN, {why}",
        f"[14/16] cluster, BAM without teacher, seed 1: NOT RUN, {why}",
    ]
    # Nothing was started for them.
    assert len(starts(out)) == 14 and len({*starts(out)}) == 14
    assert starts(out)[:2] == ["bam/pretrain/seed0", "bam/pretrain/seed1"]


def test_the_record_of_a_pretraining(done):
    _, plan, *_ = done
    record = record_of(plan[1])
    assert record["metrics"] == {
        "knn/top1": 61.0, "images_per_s": 48 * 4 / 120, "minutes": 4.0, "memory_mb": 1101.0,
        "seconds_per_epoch": 120.0, "parameters": record["metrics"]["parameters"],
    }  # fmt: skip
    # A transformer of width 96 has 12 * 96^2 weights in each of its four layers.
    assert 4 * 12 * 96**2 < record["metrics"]["parameters"] < 1.1 * 4 * 12 * 96**2
    assert record["pretraining"]["knn"]["teacher"] == [[0, 0, 21], [1, 120, 51], [2, 240, 61]]
    assert record["training"]["loss"] == [[4, 4.0], [8, 3.0]]
    assert record["checkpoint"]["file"] == "runs/bam/pretrain/seed1/epoch_2.pth"
    assert record["share"] == 1 and record["memory"]["peak_mb"] == 1101.0
    assert record["seed"] == 1 and record["protocol"]["train_cfg"]["max_epochs"] == 12
    knn = record_of(next(r for r in plan if r.task.name == "knn" and r.seed == 1))
    assert knn["checkpoint"]["sha256"] == record["checkpoint"]["sha256"]
    assert knn["model"]["method"] == "bam" and knn["model"]["sha256"] == ""


def test_the_report_has_a_row_a_method_and_accuracy_over_time(done):
    out, plan, *_ = done
    write_report(plan[0].suite, out / "w")
    rows = list(csv.DictReader((out / "w/report/leaderboard.csv").open()))
    assert [row["model"] for row in rows] == ["BAM", "BAM without teacher", "random"]
    assert (rows[0]["knn:knn_k20/top1 mean"], rows[0]["knn:knn_k20/top1 seeds"]) == ("51.0", "2")
    assert float(rows[0]["knn:knn_k20/top1 std"]) == pytest.approx(2**0.5)
    assert rows[0]["pretrain:minutes mean"] == "3.0" and rows[1]["pretrain:minutes mean"] == "2.0"
    assert rows[0]["pretrain:memory_mb mean"] == "1100.5" and rows[2]["pretrain:minutes mean"] == ""
    assert float(rows[1]["pretrain:images_per_s mean"]) == pytest.approx(48 * 4 / 60)

    # The best of a column is found among numbers with a comma in them, too.
    assert "**1,100" in (out / "w/report/leaderboard.md").read_text()

    # Reference curves name the config by this.
    text = (plan[0].folder / "plan.json").read_text()
    assert json.loads(text)["config"] == plan[0].task.config["bam"].stem

    data = report_data(plan[0].suite, read_records(out / "w"), out / "w")
    epochs, minutes = data["methods"]["charts"]
    # The mean of two seeds; the failed one does not count.
    assert epochs["series"] == {
        "BAM": [[0, 21], [1, 46], [2, 56]],
        "BAM without teacher": [[0, 20], [1, 40], [2, 50]],
    }
    assert minutes["series"]["BAM"] == [[0, 21], [1.5, 46], [3, 56]]
    assert minutes["series"]["BAM without teacher"] == [[0, 20], [1, 40], [2, 50]]
    assert epochs["order"] == minutes["order"] == ["BAM", "BAM without teacher", "random"]
    # Fig. 7 has all methods in one panel.
    [cluster] = [task for task in data["tasks"] if task["name"] == "cluster"]
    nmi, ari = cluster["charts"]
    assert nmi["series"]["BAM"] == [[2, pytest.approx(20)], [4, pytest.approx(40)]]
    assert list(nmi["series"]) == list(ari["series"]) == epochs["order"]
    # The losses stand once, under pretraining.
    assert [task["charts"] for task in data["tasks"] if task["name"] == "pretrain"] == [[]]
    loss = next(chart for chart in data["pretraining"] if chart["y_label"].startswith("loss"))
    assert list(loss["series"]) == ["BAM", "BAM without teacher"]
    page = (out / "w/report/index.html").read_text()
    assert "Accuracy over epochs, and over time" in page and "features collapsed" in page
    models = {
        row[0]["text"]: [c["text"] for c in row] for row in data["provenance"]["models"]["rows"]
    }
    shas = [record_of(run)["checkpoint"]["sha256"][:12] for run in plan[:2]]
    assert models["BAM"][4] == ", ".join(shas) and "all 1 tensors" in models["BAM"][3]


def test_no_time_is_the_best_if_machine_or_load_differ(done):
    out, plan, *_ = done
    records = read_records(out / "w")

    def bold(task):
        return {
            column.metric.key
            for column in columns(task, records)
            if any(cell.best for cell in column.cells.values())
        }

    timed = {"images_per_s", "minutes", "memory_mb", "seconds_per_epoch"}
    assert bold(plan[0].suite.tasks[0]) == {"knn/top1", *timed}
    [record] = [r for r in records if (r["slug"], r["task"], r["seed"]) == ("bam", "pretrain", 0)]
    record["share"] = 2
    assert bold(plan[0].suite.tasks[0]) == {"knn/top1"}


def test_a_task_may_be_called_pretrain_where_nothing_is_pretrained(done):
    out, *_ = done
    records = [r for r in read_records(out / "w") if r["slug"] == "random" and r["task"] == "knn"]
    records = [
        {**r, "task": "pretrain", "checkpoint": {"path": str(out / "x.pth")}} for r in records
    ]
    for record in records:
        record["model"] = {**record["model"], "kind": "bam"}
        del record["training"]
    assert pretraining_charts(records) == [] and method_charts(records) is None


def test_finished_runs_are_skipped_and_other_settings_refused(done):
    out, *_ = done
    changed = {"bam": {"model.head.temperature": 0.3}}
    with pytest.raises(InputError, match=r"task pretrain: .*head\.temperature: 0\.1 -> 0\.3"):
        run_all(runs(out, names=["bam"], tasks=TASKS, options=changed), out)
    # Another network under the same name, which is not part of the protocol.
    wide = {"bam": {"model.backbone.arch.num_layers": 5}}
    changes = r"arch\.num_layers: 4 -> 5.*\. Undo the change of --cfg-options, choose another --wo"
    with pytest.raises(InputError, match=rf"'BAM'.*backbone\.{changes}"):
        run_all(runs(out, names=["bam"], tasks=TASKS, options=wide), out)
    before = len(starts(out))
    assert run_all(runs(out, names=["bam"], tasks=TASKS), out)[0] == 0
    assert len(starts(out)) == before


def test_results_of_another_pretraining_are_refused_and_the_failed_one_is_repeated(tmp_path):
    plan = runs(tmp_path, seeds=(0,))
    failing = ("bam-no-teacher/seed0",)
    assert run_all(plan, tmp_path, failing)[0] == 2
    assert run_all(plan, tmp_path)[0] == 0
    assert starts(tmp_path).count("bam-no-teacher/pretrain/seed0") == 2
    assert starts(tmp_path).count("bam/pretrain/seed0") == 1
    knn = record_of(plan[-1])
    assert (knn["status"], knn["tries"]) == ("done", 1)
    # A pretraining that is made again leaves other weights than those that were evaluated.
    plan[0].record.unlink()
    with pytest.raises(InputError, match="knn, BAM, seed 0: the record is of another pretraining"):
        run_all(plan, tmp_path)
    record = {**knn, "checkpoint": {**knn["checkpoint"], "sha256": "0"}}
    plan[-1].record.write_text(json.dumps(record))
    with pytest.raises(InputError, match="the record is of another pretraining"):
        run_all(plan[1::2], tmp_path)


def test_tasks_are_repeated_after_a_new_pretraining_as_the_message_says(tmp_path):
    plan = runs(tmp_path, names=["bam"], seeds=(0,), tasks=("knn", "linear"))
    assert run_all(plan, tmp_path)[0] == 0
    before = record_of(plan[0])["checkpoint"]["sha256"]
    # The seconds of both starts count as long as the folder stays; a new one starts over.
    plan[0].record.unlink()
    shutil.rmtree(plan[0].folder)
    with pytest.raises(
        InputError, match=r"Delete the records of the other tasks in .*records/bam,"
    ):
        run_all(plan, tmp_path)
    for run in plan[1:]:
        run.record.unlink()
    assert run_all(plan, tmp_path)[0] == 0
    made, knn, linear = map(record_of, plan)
    assert before != made["checkpoint"]["sha256"]
    for record in (knn, linear):
        assert record["checkpoint"]["sha256"] == made["checkpoint"]["sha256"]
        assert record["proof"]["file_sha256"] == made["checkpoint"]["sha256"]
    # The probe is a new one, not the old one that goes on.
    assert linear["time"]["starts"] == 1


def test_a_run_that_lacked_its_weights_has_not_failed(tmp_path):
    plan = runs(tmp_path, names=["bam"], seeds=(0,))
    assert run_all(plan[1:], tmp_path)[0] == 1
    record = record_of(plan[1])
    assert (record["tries"], record["time"]["starts"]) == (0, 0) and "no result" in record[
        "message"
    ]
    missing, lines = run_all(plan, tmp_path)
    assert missing == 0 and not any("failed before" in line for line in lines)
    assert record_of(plan[1])["tries"] == 1
    # A result whose checkpoint is gone is none, either.
    (plan[0].folder / "epoch_2.pth").unlink()
    plan[1].record.unlink()
    missing, lines = run_all(plan, tmp_path)
    assert missing == 1 and "NOT RUN, BAM: the checkpoint" in lines[-1]


def test_weights_of_a_pretraining_with_other_settings_are_not_taken(tmp_path):
    assert run_all(runs(tmp_path, names=["bam"], seeds=(0,), tasks=()), tmp_path)[0] == 0
    # Planned by another call, before the first one had any result.
    changed = {"bam": {"model.head.temperature": 0.3}}
    knn = runs(tmp_path, names=["bam"], seeds=(0,), options=changed)[-1]
    with pytest.raises(InputError, match=r"BAM with seed 0 in .* settings \(digest of .*pretr"):
        knn.with_checkpoint()


@pytest.mark.slow
def test_a_killed_pretraining_is_resumed_while_other_runs_go_on(tmp_path):
    plan = runs(tmp_path, tasks=TASKS)
    tool = partial(stub, folder=tmp_path)
    (tmp_path / "hold-bam-seed0").touch()
    first = start(plan, tool=tool)
    wait_until(lambda: starts(tmp_path) == ["bam/pretrain/seed0"])
    second = start(plan, tool=tool)
    # The other worker does everything that does not need these weights, and waits.
    ready = [run for run in plan if run.model.method != "bam" or run.seed != 0]
    wait_until(lambda: all(run.record.exists() for run in ready))
    assert len(ready) == 9 and len(starts(tmp_path)) == 10
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    (tmp_path / "hold-bam-seed0").unlink()
    assert ends(second) == [0]
    assert all(record_of(run)["status"] == "done" for run in plan)
    assert record_of(plan[0])["time"]["starts"] == 2
    assert starts(tmp_path).count("bam/pretrain/seed0") == 2 and len(starts(tmp_path)) == 13
    # The evaluations of seed 0 come after the second start.
    order = [name for what, name, _ in log_of(tmp_path) if what == "start"]
    assert order[10] == "bam/pretrain/seed0"
    assert {*order[11:]} == {"bam/knn/seed0", "bam/cluster/seed0"}
