"""The demo on a very small toy world: it completes and writes all results."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from bam_mm.launch.watching import start_of

ROOT = Path(__file__).resolve().parents[2]


def test_an_unknown_task_is_rejected_before_the_pretraining(tmp_path):
    result = subprocess.run(
        [sys.executable, str(ROOT / "tools/demo.py"), "--out", str(tmp_path), "--tasks", "poetry"],
        capture_output=True, text=True, cwd=ROOT, timeout=600,
    )  # fmt: skip
    assert result.returncode == 1 and "--tasks poetry: the suite toy has knn" in result.stderr
    assert not list(tmp_path.iterdir())


def test_demo_prints_table_and_picture(tmp_path):
    out = tmp_path / "demo"
    result = subprocess.run(
        [
            sys.executable, str(ROOT / "tools/demo.py"), "--out", str(out),
            "--data", str(tmp_path / "w"),
            "--scale", "0.02", "--cfg-options", "max_epochs=1", "train_dataloader.num_workers=0",
            "train_dataloader.persistent_workers=False", "custom_hooks.2.k=5",
            "train_dataloader.batch_size=16", "--tasks", "knn", "--limit", "60",
        ],
        capture_output=True, text=True, cwd=ROOT, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "2", "COLUMNS": "120"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-3000:]
    for name in ("BAM teacher", "random weights", "colour histogram", "raw pixels"):
        assert name in result.stdout
    picture = out / "seed0/first_result.png"
    assert str(picture) in result.stdout and picture.stat().st_size > 20_000
    scores = json.loads((out / "seed0/first_result.json").read_text())
    assert scores["queries"] == 20 and scores["bank"] == 80 and scores["k"] == 20
    assert all(0 <= scores[n] <= 100 for n in ("BAM teacher", "random weights", "raw pixels"))
    # The toy suite: the requested task for both models, and a page with their pictures.
    records = {p.parts[-3]: json.loads(p.read_text()) for p in out.glob("suite/records/*/*/*.json")}
    assert {slug: r["status"] for slug, r in records.items()} == {
        "BAM": "done",
        "random-weights": "done",
    }
    assert records["BAM"]["checkpoint"]["path"] == str(out / "seed0/epoch_1.pth")
    page = out / "suite/report/index.html"
    assert str(page) in result.stdout and "random weights" in page.read_text()
    pictures = {p.name for p in (out / "suite/pictures").iterdir()}
    assert pictures >= {"similarities_BAM.png", "attention_BAM_00000.png"}, result.stdout
    assert (tmp_path / "w/toy/images/subsets/balanced_10percent_seed0.txt").is_file()


TRAINING = """
import os, sys, time
sys.path.insert(0, {root!r})
from bam_mm.launch.watching import end_with_the_watched
end_with_the_watched()
print(os.getpid(), file=open({pid!r}, "w"), flush=True)
time.sleep(600)
"""


def test_the_pretraining_ends_when_the_demo_is_killed(tmp_path):
    training, pid = tmp_path / "training.py", tmp_path / "pid"
    training.write_text(TRAINING.format(root=str(ROOT), pid=str(pid)))
    start = (
        "import sys; from pathlib import Path; from bam_mm.suite import demo; "
        f"demo.module_command = lambda *arguments: [sys.executable, {str(training)!r}]; "
        f"demo.pretrain(Path({str(tmp_path)!r}), [])"
    )
    demo = subprocess.Popen([sys.executable, "-c", start], cwd=ROOT, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (pid.exists() and pid.read_text()):
        assert demo.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    child = int(pid.read_text())
    assert start_of(child) is not None
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    while start_of(child) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
