"""tools/benchmark.py: killed and resumed, on two processes, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bam_mm.data.toy import make_world
from tests.end_to_end.running import exit_code_of

ROOT = Path(__file__).resolve().parents[2]
QUICK = [
    "test_dataloader.num_workers=0",
    "test_dataloader.persistent_workers=False",
    "knn:test_cfg.bank.num_workers=0",
    "knn:test_cfg.k=[3,10,20]",
    "linear:train_dataloader.num_workers=0",
    "linear:train_dataloader.persistent_workers=False",
    "linear:val_dataloader.num_workers=0",
    "linear:val_dataloader.persistent_workers=False",
    "linear:train_dataloader.batch_size=16",
]
SUITE = """
_base_ = "{root}/configs/suites/toy.py"
title, about = "Two tasks", "for a test"
tasks = [dict(t, metrics={{k: v for k, v in t["metrics"].items() if not k.endswith(("100/top1",
    "200/top1"))}}) for t in _base_.tasks if t["name"] in ("knn", "linear")]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the suite ``two.py`` and its data."""
    out = tmp_path_factory.mktemp("folder")
    make_world(out / "data/toy", scale=0.012)
    (out / "two.py").write_text(SUITE.format(root=ROOT))
    return out


def arguments_of(folder, work, *arguments, options=()):
    return [
        "run", str(folder / "two.py"),
        "--model", "untrained=random:vit-toy-p8", "--data", str(folder / "data"),
        "--work-dir", str(work), *arguments, "--cfg-options", *QUICK, *options,
    ]  # fmt: skip


@pytest.fixture
def call(monkeypatch, capfd):
    """A function that runs the tool in this process and returns its output."""

    def run(*arguments, code=0, **options):
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        found = exit_code_of("benchmark.py", *arguments_of(*arguments, **options))
        text = "".join(capfd.readouterr())
        assert found == code, text[-3000:]
        return text

    return run


def records(work):
    return {p.parent.name: json.loads(p.read_text()) for p in work.glob("records/*/*/seed0.json")}


def epochs(work):
    """Return the epoch of each logged loss, over all starts of the training."""
    files = work.glob("runs/untrained/linear/seed0/*/vis_data/scalars.json")
    return [json.loads(x)["epoch"] for f in sorted(files) for x in f.read_text().splitlines()
            if "loss" in x]  # fmt: skip


def test_killed_and_resumed_and_on_two_processes(folder, call, tmp_path):
    work = tmp_path / "killed"
    long = ["linear:train_cfg.max_epochs=60", "linear:train_cfg.val_interval=60"]
    long.append("linear:default_hooks.logger.interval=1")
    arguments = arguments_of(folder, work, options=long)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tools/benchmark.py"), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    training = work / "runs/untrained/linear/seed0"
    deadline = time.monotonic() + 1500
    while not list(training.glob("epoch_*.pth")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = records(work)
    assert list(done) == ["knn"]
    [knn] = work.glob("records/*/knn/seed0.json")
    before = knn.stat().st_mtime_ns, knn.read_bytes()
    # The child process ends within half a second, many epochs before the last one.
    last = -1
    while last != (last := len(epochs(work))) and time.monotonic() < deadline:
        time.sleep(1.5)
    assert max(epochs(work)) < 60

    text = call(folder, work, options=long)
    assert "knn, untrained, seed 0: already done" in text
    assert (knn.stat().st_mtime_ns, knn.read_bytes()) == before
    linear = records(work)["linear"]
    assert linear["status"] == "done" and linear["time"]["starts"] == 2
    # The training was resumed: the three steps of the first epoch were not repeated.
    assert epochs(work).count(1) == 3 and max(epochs(work)) == 60
    assert "resuming from" in (training / "run.log").read_text()

    # Two processes make the same record as one, except for time, folder and number of processes.
    pair = tmp_path / "pair"
    call(folder, pair, "--tasks", "knn", "--launcher", "pytorch", "--gpus", "2")
    one, two = done["knn"], records(pair)["knn"]
    assert (one["processes"], two["processes"]) == (1, 2)
    for key in (
        "metrics", "intervals", "protocol", "protocol_digest", "curves", "data", "model",
        "checkpoint",
    ):  # fmt: skip
        assert one[key] == two[key], key
    for record, key in ((one, "knn_k20/top1"), (linear, "accuracy/top1")):
        found, score = record["intervals"][key], record["metrics"][key]
        assert found["units"] == 18 and found["interval"][0] < score < found["interval"][1]
    page = (pair / "report/index.html").read_text()
    assert "untrained" in page and "2 x cpu" in page


def test_a_task_without_data_has_a_row_and_the_exit_code_is_2(folder, call, tmp_path):
    missing = [f"linear:train_dataloader.dataset.data_root={tmp_path}/nowhere"]
    text = call(folder, tmp_path / "w", "--tasks", "linear", options=missing, code=2)
    assert "nowhere does not exist" in text and "1 of 1 runs have no result" in text
    record = records(tmp_path / "w")["linear"]
    assert record["status"] == "failed" and "nowhere does not exist" in record["message"]
    assert "nowhere does not exist" in (tmp_path / "w/report/report.md").read_text()
