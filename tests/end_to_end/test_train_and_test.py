"""tools/train.py and tools/test.py end to end on a very small toy world."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import CLASS_NAMES, make_world
from bam_mm.models import momentum_at

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
SMALL = [
    "train_dataloader.batch_size=16",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "max_epochs=4",
    "custom_hooks.2.k=5",
    "custom_hooks.2.bank_fraction=1.0",
    "custom_hooks.1.interval=1",
    "default_hooks.logger.interval=1",
    "test_cfg.k=[5]",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.012)  # 48 training images: 3 iterations an epoch
    return out / "images"


def command(tool, *args, data, options=()):
    return [
        sys.executable, str(ROOT / "tools" / tool), *map(str, args),
        "--cfg-options", f"data_root={data}", *SMALL, *options,
    ]  # fmt: skip


def run(*args, **kw):
    return subprocess.run(
        command(*args, **kw), capture_output=True, text=True, cwd=ROOT, timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )  # fmt: skip


def scalars(work_dir):
    lines = []
    for file in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def test_killed_and_resumed_training_continues(world, tmp_path):
    work = tmp_path / "run"
    process = subprocess.Popen(
        command("train.py", CONFIG, "--work-dir", work, data=world),
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT,
    )  # fmt: skip
    deadline = time.monotonic() + 200
    while not (work / "epoch_1.pth").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = scalars(work)
    # last_checkpoint is written shortly after the checkpoint that it names.
    saved = max(int(path.stem.removeprefix("epoch_")) for path in work.glob("epoch_*.pth"))
    assert saved < 4 and not (work / "epoch_4.pth").exists()

    resumed = run("train.py", CONFIG, "--work-dir", work, "--resume", data=world)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert f"resumed epoch: {saved}" in resumed.stdout + resumed.stderr
    after = scalars(work)[len(before) :]
    first = after[0]
    assert first["step"] == 3 * saved + 1 and first["epoch"] == saved + 1
    assert after[-1]["step"] == 12 and (work / "epoch_4.pth").exists()
    for line in after:
        expected = momentum_at(line["step"] - 1, 12, 0.8)
        assert line["teacher_momentum"] == pytest.approx(expected, abs=1e-9)

    # The same learning rates as a run that was never interrupted.
    straight = run("train.py", CONFIG, "--work-dir", tmp_path / "straight", data=world)
    assert straight.returncode == 0, straight.stderr[-2000:]
    expected = {line["step"]: line["lr"] for line in scalars(tmp_path / "straight")}
    assert {line["step"]: line["lr"] for line in after} == {
        s: expected[s] for s in range(3 * saved + 1, 13)
    }

    # tools/test.py on the trained model, with another work folder and a file for the metrics.
    out = tmp_path / "metrics.json"
    tested = run(
        "test.py",
        CONFIG,
        work / "epoch_4.pth",
        "--work-dir",
        tmp_path / "t",
        "--out",
        out,
        data=world,
    )
    assert tested.returncode == 0, tested.stderr[-2000:]
    metrics = json.loads(out.read_text())
    online = [
        float(v)
        for v in re.findall(r"kNN after 12 .*teacher (\S+) %", resumed.stdout + resumed.stderr)
    ]
    assert metrics["knn_k5/top1"] == pytest.approx(online[0], abs=0.01)

    # A checkpoint of another model is rejected; the message lists the tensors.
    state = read_checkpoint(work / "epoch_4.pth")["state_dict"]
    state["teacher.backbone.renamed"] = state.pop("teacher.backbone.cls_token")
    torch.save({"state_dict": state}, tmp_path / "other.pth")
    rejected = run(
        "test.py", CONFIG, tmp_path / "other.pth", "--work-dir", tmp_path / "t", data=world
    )
    assert rejected.returncode == 1
    assert "1 missing: teacher.backbone.cls_token" in rejected.stderr
    assert "1 not in the model: teacher.backbone.renamed" in rejected.stderr

    # So is resuming with an optimizer that has other parameter groups.
    changed = run(
        "train.py",
        CONFIG,
        "--work-dir",
        tmp_path / "changed",
        "--resume",
        work / "epoch_4.pth",
        data=world,
        options=["optim_wrapper.paramwise_cfg.bias_decay_mult=1.0"],
    )
    one_message(changed, "optimizer has 2 groups of", "paramwise_cfg", "load_from=PATH")


def test_two_processes_train_and_score(world, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    work = tmp_path / "two"
    result = subprocess.run(
        [
            str(ROOT / "tools/dist_train.sh"), str(CONFIG), "2", "--work-dir", str(work),
            "--cfg-options", f"data_root={world}", *SMALL, "max_epochs=1",
            "train_dataloader.batch_size=8",
        ],
        capture_output=True, text=True, cwd=ROOT, timeout=500,
        env={
            **os.environ, "OMP_NUM_THREADS": "1", "PORT": str(port),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )  # fmt: skip
    text = result.stdout + result.stderr
    assert result.returncode == 0, text[-3000:]
    # 48 images in batches of 2 x 8, and each image of the bank and the queries exactly once.
    assert [line["step"] for line in scalars(work)] == [1, 2, 3]
    assert "kNN after 3 iterations (k=5, bank 48, queries 18)" in text
    assert (work / "epoch_1.pth").exists()


def one_message(result, *words):
    """Check for exit code 1, no traceback, and a single error line that contains the words."""
    assert result.returncode == 1, result.stdout[-1500:] + result.stderr[-1500:]
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in result.stderr, result.stderr[-3000:]
    for word in words:
        assert word in errors[0], errors[0]


def test_missing_data_folder(tmp_path):
    result = run("train.py", CONFIG, "--work-dir", tmp_path, data="/nowhere/at/all")
    one_message(result, "data folder /nowhere/at/all does not exist", "data_root=FOLDER")


def test_empty_class_folder(world, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(world, copy)
    for path in (copy / "train" / CLASS_NAMES[3]).iterdir():
        path.unlink()
    result = run("train.py", CONFIG, "--work-dir", tmp_path / "w", data=copy)
    one_message(result, "without an image", CLASS_NAMES[3])


def test_truncated_image_in_a_worker(world, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(world, copy)
    victim = sorted((copy / "train" / CLASS_NAMES[0]).iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:300])
    workers = ["train_dataloader.num_workers=1", "custom_hooks.2.first=False"]
    stop = run("train.py", CONFIG, "--work-dir", tmp_path / "a", data=copy, options=workers)
    one_message(stop, victim.name, "truncated", "on_error='skip'")
    victim_of_knn = ["custom_hooks.2.interval=9", "max_epochs=1", "on_error=skip"]
    plain = tmp_path / "plain"  # Without labels, no kNN bank reads the broken image.
    plain.mkdir()
    for path in (copy / "train").rglob("*.jpg"):
        shutil.copy(path, plain / path.name)
    skip = run(
        "train.py",
        CONFIG,
        "--work-dir",
        tmp_path / "b",
        data=plain,
        options=[*workers, *victim_of_knn],
    )
    text = skip.stdout + skip.stderr
    assert skip.returncode == 0, text[-2000:]
    assert "1 unreadable image(s) skipped so far" in text and victim.name in text
    assert "online kNN is off" in text


def test_batch_of_one(world, tmp_path):
    result = run(
        "train.py",
        CONFIG,
        "--work-dir",
        tmp_path,
        data=world,
        options=["train_dataloader.batch_size=1"],
    )
    one_message(result, "batch_size=1", "at least")


def test_layout_that_does_not_match_the_pipeline(world, tmp_path):
    result = run(
        "train.py", CONFIG, "--work-dir", tmp_path, data=world,
        options=["model.data_preprocessor.layout.global_size=32"],
    )  # fmt: skip
    one_message(result, "48x48", "wants 2 of sizes [32x32, 32x32]")


def test_checkpoint_that_holds_code_does_not_run_it(world, tmp_path):
    trap = tmp_path / "sprung"
    (tmp_path / "evil.pth").write_bytes(b"cbuiltins\nopen\n(V" + str(trap).encode() + b"\nVw\ntR.")
    result = run("test.py", CONFIG, tmp_path / "evil.pth", "--work-dir", tmp_path / "w", data=world)
    one_message(result, "evil.pth", "run code", "--trust-checkpoint")
    resumed = run(
        "train.py",
        CONFIG,
        "--work-dir",
        tmp_path / "w",
        "--resume",
        tmp_path / "evil.pth",
        data=world,
    )
    one_message(resumed, "evil.pth", "run code")
    assert not trap.exists()
