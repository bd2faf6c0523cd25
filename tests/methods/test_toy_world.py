"""Every method trains for two epochs in the toy world, resumes exactly, and is scored."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.launch.config import load_config
from bam_mm.launch.testing import test as run_test
from bam_mm.launch.training import train
from tests.end_to_end.running import forget_earlier_runs, lay_out_quickly
from tests.end_to_end.test_exact_resume import differences
from tests.pages import ROOT

pytestmark = pytest.mark.slow

CONFIGS = ROOT / "configs/methods"
METHODS = ("bam", "simclr", "byol", "swav", "mocov3", "dino", "nnclr", "relic")
TEACHERS = ("bam", "byol", "mocov3", "dino", "relic")
"""Methods with a teacher, which is what is scored."""

STEPS = 3


@pytest.fixture(scope="module", autouse=True)
def quickly():
    with pytest.MonkeyPatch.context() as patch:
        lay_out_quickly(patch)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.012)  # 48 training images: three iterations an epoch
    return out / "images"


def run(method, world, work, *, epochs=2, resume=False):
    """Train a method of which one run has two epochs, and stop after ``epochs``."""
    forget_earlier_runs()
    path = CONFIGS / f"{method}_vit-toy-p8_1xb64-coslr-2e_toy.py"
    options = {
        "data_root": str(world),
        "train_dataloader.batch_size": 16,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "knn_bank.num_workers": 0,
        "knn_queries.num_workers": 0,
        "default_hooks.logger.interval": 1,
        "work_dir": str(work),
    }
    config = load_config(path, options)
    for hook in config.custom_hooks:
        if hook.type == "bam_mm.OnlineKNNHook":
            hook.update(k=5, bank_fraction=1.0)
    if method == "nnclr":
        config.model.head.queue_size = 40  # Its end is passed in the middle of a batch.
    args = Namespace(
        config=str(path), work_dir=str(work), launcher="none", amp=False,
        resume="auto" if resume else None, auto_scale_lr=False,
    )  # fmt: skip
    if epochs < 2:
        # The run is stopped after its first epoch, as by a kill between two epochs.
        config.custom_hooks.append(dict(type="bam_mm.StopAfter", epochs=epochs))
        with pytest.raises(KeyboardInterrupt):
            train(config, args)
    else:
        train(config, args)
    return read_checkpoint(Path(work) / f"epoch_{epochs}.pth")


def logged(work):
    lines = []
    for file in sorted(Path(work).glob("*/vis_data/scalars.json")):
        lines += [json.loads(line) for line in file.read_text().splitlines()]
    return lines


@pytest.fixture(scope="module", autouse=True)
def stop_hook():
    from mmengine.hooks import Hook

    from bam_mm.registry import HOOKS

    class StopAfter(Hook):
        priority = "VERY_LOW"

        def __init__(self, epochs):
            self.epochs = epochs

        def before_train_epoch(self, runner):
            if runner.epoch == self.epochs:
                raise KeyboardInterrupt

    HOOKS.register_module(module=StopAfter, force=True)


@pytest.mark.parametrize("method", METHODS)
def test_two_epochs_resumed_and_scored(method, world, tmp_path):
    straight = run(method, world, tmp_path / "straight")
    lines = logged(tmp_path / "straight")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 2 * STEPS and all(math.isfinite(loss) for loss in losses)
    spreads = [line["feature_std"] for line in lines if "feature_std" in line]
    assert spreads and all(0 < spread <= 1.01 for spread in spreads)
    scores = [line for line in lines if any(key.startswith("knn/") for key in line)]
    assert ("knn/teacher_top1" in scores[-1]) == (method in TEACHERS)
    assert any(k.startswith("teacher.") for k in straight["state_dict"]) == (method in TEACHERS)

    # Stopped after an epoch and resumed: bit-equal.
    run(method, world, tmp_path / "resumed", epochs=1)
    resumed = run(method, world, tmp_path / "resumed", resume=True)
    for part in ("state_dict", "optimizer", "param_schedulers", "random_states"):
        assert differences(straight[part], resumed[part], part) == []

    # Scored by the kNN protocol: the same accuracy as the online kNN's last.
    out = tmp_path / "metrics.json"
    forget_earlier_runs()
    branch = "teacher" if method in TEACHERS else "student"
    path = ROOT / "configs/cls/vit-toy-p8_knn_toy.py"
    options = {
        "data_root": str(world),
        "model.branch": branch,
        "test_cfg.k": [5],
        "test_cfg.bank.num_workers": 0,
        "test_dataloader.num_workers": 0,
        "test_dataloader.persistent_workers": False,
    }
    args = Namespace(
        config=str(path), work_dir=str(tmp_path / "test"), launcher="none", out=str(out),
        checkpoint=str(tmp_path / "straight/epoch_2.pth"), cfg_options=[],
    )  # fmt: skip
    wanted = pytest.approx(scores[-1][f"knn/{branch}_top1"], abs=1e-3)
    assert run_test(load_config(path, options), args)["knn_k5/top1"] == wanted

    # And with the config of the training itself.
    forget_earlier_runs()
    path = CONFIGS / f"{method}_vit-toy-p8_1xb64-coslr-2e_toy.py"
    del options["model.branch"]
    config = load_config(path, options)
    if method == "nnclr":
        config.model.head.queue_size = 40
    args.config = str(path)
    assert run_test(config, args)["knn_k5/top1"] == wanted
