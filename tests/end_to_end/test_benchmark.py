"""The benchmark's tool: killed and started again, over two processes, and its exit codes."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from bam_mm.data.toy import make_world

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
def place(tmp_path_factory):
    out = tmp_path_factory.mktemp("place")
    make_world(out / "data/toy", scale=0.012)
    (out / "two.py").write_text(SUITE.format(root=ROOT))
    return out


def arguments_of(place, work, *arguments, options=()):
    return [
        str(ROOT / "tools/benchmark.py"), "run", str(place / "two.py"),
        "--model", "untrained=random:vit-toy-p8", "--data", str(place / "data"),
        "--work-dir", str(work), *arguments, "--cfg-options", *QUICK, *options,
    ]  # fmt: skip


@pytest.fixture
def call(monkeypatch, capfd):
    """Run the tool in this process, the runs that it starts in theirs; its output."""

    def run(*arguments, code=0, **options):
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setattr(sys, "argv", arguments_of(*arguments, **options))
        MMLogger._instance_dict.clear()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(sys.argv[0], run_name="__main__")
        text = "".join(capfd.readouterr())
        assert stop.value.code == code, text[-3000:]
        return text

    return run


def records(work):
    return {p.parent.name: json.loads(p.read_text()) for p in work.glob("records/*/*/seed0.json")}


def epochs(work):
    """Losses that the training logged, over all its starts."""
    files = work.glob("runs/untrained/linear/seed0/*/vis_data/scalars.json")
    return [json.loads(x)["epoch"] for f in sorted(files) for x in f.read_text().splitlines()
            if "loss" in x]  # fmt: skip


def test_killed_and_started_again_and_two_processes(place, call, tmp_path):
    work = tmp_path / "killed"
    long = ["linear:train_cfg.max_epochs=60", "linear:train_cfg.val_interval=60"]
    long.append("linear:default_hooks.logger.interval=1")
    process = subprocess.Popen(
        [sys.executable, *arguments_of(place, work, options=long)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    folder = work / "runs/untrained/linear/seed0"
    until = time.monotonic() + 1500
    while not list(folder.glob("epoch_*.pth")) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0][-3000:]
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = records(work)
    assert list(done) == ["knn"]
    [knn] = work.glob("records/*/knn/seed0.json")
    before = knn.stat().st_mtime_ns, knn.read_bytes()
    # Its child ends within half a second, many epochs before the last, and leaves the folder.
    last = -1
    while last != (last := len(epochs(work))) and time.monotonic() < until:
        time.sleep(1.5)
    assert max(epochs(work)) < 60

    text = call(place, work, options=long)
    assert "knn, untrained, seed 0: done before" in text
    assert (knn.stat().st_mtime_ns, knn.read_bytes()) == before
    linear = records(work)["linear"]
    assert linear["status"] == "done" and linear["time"]["starts"] == 2
    # The training went on where it was: the first epoch, three steps, was not done again.
    assert epochs(work).count(1) == 3 and max(epochs(work)) == 60
    assert "resuming from" in (folder / "run.log").read_text()

    # Two processes give the records of one, but for time, place and number.
    pair = tmp_path / "pair"
    call(place, pair, "--tasks", "knn", "--launcher", "pytorch", "--gpus", "2")
    one, two = done["knn"], records(pair)["knn"]
    assert (one["processes"], two["processes"]) == (1, 2)
    for key in ("metrics", "protocol", "protocol_digest", "curves", "data", "model", "checkpoint"):
        assert one[key] == two[key], key
    page = (pair / "report/index.html").read_text()
    assert "untrained" in page and "2 x cpu" in page


def test_a_task_without_data_is_a_row_and_the_exit_code_is_2(place, call, tmp_path):
    nowhere = [f"linear:train_dataloader.dataset.data_root={tmp_path}/nowhere"]
    text = call(place, tmp_path / "w", "--tasks", "linear", options=nowhere, code=2)
    assert "nowhere does not exist" in text and "1 of 1 runs have no result" in text
    record = records(tmp_path / "w")["linear"]
    assert record["status"] == "failed" and "nowhere does not exist" in record["message"]
    assert "nowhere does not exist" in (tmp_path / "w/report/report.md").read_text()
