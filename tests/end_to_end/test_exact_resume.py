"""A resumed training is bit-equal to an uninterrupted one, and no fault loses saved checkpoints."""

import json
import multiprocessing
import os
import signal
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.registry import HOOKS
from tests.distributed.test_loss_over_processes import free_port

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
EPOCHS, STEPS = 4, 3


@HOOKS.register_module(force=True)
class Accident(Hook):
    """Kill this process in the second iteration of an epoch or while it saves a checkpoint."""

    def __init__(self, epoch, place):
        self.epoch, self.place = epoch, place

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.place == "training" and (runner.epoch, batch_idx) == (self.epoch, 1):
            os.kill(os.getpid(), signal.SIGKILL)

    def before_save_checkpoint(self, runner, checkpoint):
        if runner.epoch != self.epoch:
            return
        if self.place == "saving":
            # Kill the process at the first write to the disk, before the file gets its name.
            os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        if self.place == "full disk":
            name = f"epoch_{self.epoch + 1}.pth.partial"
            (Path(runner.work_dir) / name).symlink_to("/dev/full")


def train_once(rank, world, port, work, data, workers, accident, resume, keep):
    from bam_mm.errors import InputError
    from bam_mm.launch.config import load_config
    from bam_mm.launch.training import train

    log = os.open(f"{work}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1), os.dup2(log, 2)
    torch.set_num_threads(1)
    if world > 1:
        os.environ.update(
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank),
            LOCAL_RANK=str(rank), WORLD_SIZE=str(world),
        )  # fmt: skip
    options = {
        "data_root": str(data),
        "train_dataloader.batch_size": 16 // world,
        "train_dataloader.num_workers": workers,
        "train_dataloader.persistent_workers": workers > 0,
        "max_epochs": EPOCHS,
        # Everything that keeps a state or draws random numbers in the training process: BatchNorm,
        # stochastic depth, photometric augmentation, and evaluation between the epochs.
        "model.backbone.drop_path_rate": 0.2,
        "model.neck.norm": True,
        "photometric_place": "device",
        "default_hooks.boxes.start": 1,
        "default_hooks.boxes.interval": 2,
        "default_hooks.boxes.threshold": 0.7,  # After two epochs, saliency covers the whole image.
        "custom_hooks.1.interval": 1,
        "custom_hooks.2.k": 5,
        "default_hooks.logger.interval": 1,
        "default_hooks.checkpoint.max_keep_ckpts": keep,
    }
    config = load_config(CONFIG, options)
    if accident:
        config.custom_hooks.append(dict(type="bam_mm.Accident", **accident))
    args = Namespace(
        config=str(CONFIG), work_dir=str(work), launcher="pytorch" if world > 1 else "none",
        resume="auto" if resume else None, amp=False, auto_scale_lr=False,
    )  # fmt: skip
    try:
        train(config, args)
    except InputError as error:
        print(f"error: {error}", flush=True)
        os._exit(1)
    os._exit(0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that trains in new processes and returns their exit codes and the log."""
    data = tmp_path_factory.mktemp("world")
    make_world(data, scale=0.012)  # 48 training images: three iterations an epoch
    # The server imports the packages once for all processes.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["mmpretrain.models", "mmpretrain.datasets", "bam_mm.models"])

    def start(work, *, world=1, workers=0, accident=None, resume=False, keep=3):
        port = free_port()
        processes = [
            context.Process(
                target=train_once,
                args=(
                    r, world, port, str(work), data / "images", workers, accident, resume, keep
                ),
            )
            for r in range(world)
        ]  # fmt: skip
        for process in processes:
            process.start()
        for process in processes:
            process.join(240)
        return [p.exitcode for p in processes], Path(f"{work}.log").read_text()

    return start


@pytest.fixture(scope="module")
def straight(run, tmp_path_factory):
    """Work folders of uninterrupted runs by number of processes."""
    folders = {}
    for world in (1, 2):
        folders[world] = tmp_path_factory.mktemp("straight") / "run"
        codes, log = run(folders[world], world=world)
        assert codes == [0] * world, log[-3000:]
    return folders


def differences(a, b, path=""):
    """Return the paths at which two nested structures are not bit-equal."""
    if isinstance(a, torch.Tensor):
        return [] if a.dtype == b.dtype and torch.equal(a, b) else [path]
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return [f"{path}: keys {a.keys() ^ b.keys()}"]
        return [d for key in a for d in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{path}: lengths"]
        return [
            d
            for i, (x, y) in enumerate(zip(a, b, strict=True))
            for d in differences(x, y, f"{path}/{i}")
        ]
    return [] if a == b else [f"{path}: {a} {b}"]


def logged(work):
    """Return the last logged values of each step, without times and memory."""
    found = {}
    for file in sorted(Path(work).glob("*/vis_data/scalars.json")):
        for line in file.read_text().splitlines():
            entry = {k: v for k, v in json.loads(line).items() if "time" not in k and k != "memory"}
            found.setdefault(entry["step"], {}).update(entry)
    return found


def check_equal(work, other):
    """Check that two runs have equal final checkpoints and logs."""
    one, two = (read_checkpoint(w / f"epoch_{EPOCHS}.pth") for w in (work, other))
    for part in ("state_dict", "optimizer", "param_schedulers", "random_states", "boxes"):
        assert part in one and differences(one[part], two[part], part) == []
    assert any(k.startswith("teacher.") for k in one["state_dict"])
    assert one["boxes"].shape == (STEPS * 16, 4) and len(one["boxes"].unique(dim=0)) > STEPS
    assert any(k.endswith("running_var") for k in one["state_dict"])
    logs, others = logged(work), logged(other)
    assert set(logs) == set(range(EPOCHS * STEPS + 1))  # kNN before the first iteration is step 0
    assert {"loss", "feature_std", "knn/teacher_top1"} <= set(logs[EPOCHS * STEPS])
    assert differences(logs, others, "log") == []


@pytest.mark.parametrize(
    "world,workers", [(1, 0), (1, 2), (2, 0), (2, 2)], ids=lambda value: str(value)
)
def test_killed_in_the_third_epoch_and_resumed(run, straight, tmp_path, world, workers):
    # The straight runs have no workers: the number of workers makes no difference either.
    work = tmp_path / "run"
    killed = dict(epoch=2, place="training")
    codes, log = run(work, world=world, workers=workers, accident=killed)
    assert codes == [-signal.SIGKILL] * world, log[-3000:]
    assert sorted(p.name for p in work.glob("*.pth*")) == ["epoch_1.pth", "epoch_2.pth"]
    codes, log = run(work, world=world, workers=workers, resume=True)
    assert codes == [0] * world, log[-3000:]
    assert "resumed epoch: 2" in log
    check_equal(straight[world], work)


def test_killed_while_a_checkpoint_is_written(run, straight, tmp_path):
    work = tmp_path / "run"
    codes, log = run(work, accident=dict(epoch=2, place="saving"), keep=1)
    assert codes == [-signal.SIGKILL], log[-3000:]
    # Only one checkpoint is kept, and it still exists because its successor is incomplete.
    assert sorted(p.name for p in work.glob("*.pth*")) == ["epoch_2.pth", "epoch_3.pth.partial"]
    codes, log = run(work, resume=True, keep=1)
    assert codes == [0], log[-3000:]
    assert "epoch_3.pth.partial, left half written when an earlier run was stopped" in log
    assert sorted(p.name for p in work.glob("*.pth*")) == ["epoch_4.pth"]
    check_equal(straight[1], work)


def test_disk_full_while_a_checkpoint_is_written(run, straight, tmp_path):
    work = tmp_path / "run"
    codes, log = run(work, accident=dict(epoch=2, place="full disk"), keep=1)
    assert codes == [1], log[-3000:]
    assert "epoch_3.pth (" in log and "MB) is not written: No space left on device" in log
    assert "continue with --resume" in log
    assert sorted(p.name for p in work.glob("*.pth*")) == ["epoch_2.pth"]
    codes, log = run(work, resume=True, keep=1)
    assert codes == [0] and "resumed epoch: 2" in log
    check_equal(straight[1], work)


def test_last_checkpoint_cut_short(run, straight, tmp_path):
    work = tmp_path / "run"
    codes, log = run(work, accident=dict(epoch=2, place="training"))
    assert codes == [-signal.SIGKILL], log[-3000:]
    last = work / "epoch_2.pth"
    last.write_bytes(last.read_bytes()[:-1024])
    codes, log = run(work, resume=True)
    assert codes == [0], log[-3000:]
    assert f"checkpoint {last} is broken" in log and "passed over" in log
    assert f"resuming from {work / 'epoch_1.pth'}" in log and "resumed epoch: 1" in log
    check_equal(straight[1], work)


def test_every_checkpoint_broken(run, tmp_path):
    work = tmp_path / "run"
    work.mkdir()
    (work / "epoch_1.pth").write_bytes(b"PK half of a file")
    codes, log = run(work, resume=True)
    assert codes == [1] and "every checkpoint" in log and "delete them to start over" in log
