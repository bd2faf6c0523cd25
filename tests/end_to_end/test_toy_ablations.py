"""Every toy config trains for two epochs with the function behind ``tools/train.py``."""

import json
import math
from argparse import Namespace
from pathlib import Path

import pytest

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.launch.config import load_config
from bam_mm.launch.training import train

TOYS = sorted((Path(__file__).resolve().parents[2] / "configs/pretrain").glob("*_toy*.py"))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.01)
    return out / "images"


def options(world, work):
    return {
        "data_root": str(world),
        "train_dataloader.batch_size": 16,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "knn_bank.num_workers": 0,
        "knn_queries.num_workers": 0,
        "max_epochs": 2,
        "default_hooks.logger.interval": 1,
        "default_hooks.boxes.loader.num_workers": 0,
        "work_dir": str(work),
    }


def logged_lines(work):
    found = []
    for file in sorted(work.glob("*/vis_data/scalars.json")):
        found += [json.loads(line) for line in file.read_text().splitlines()]
    return found


@pytest.mark.parametrize("path", TOYS, ids=lambda p: p.stem.removeprefix("bam_vit-toy-p8_"))
def test_two_epochs(path, world, tmp_path):
    assert len(TOYS) >= 8
    config = load_config(path, options(world, tmp_path))
    for hook in config.custom_hooks:
        if hook.type == "bam_mm.OnlineKNNHook":
            hook.update(k=5, bank_fraction=1.0, first=False)
    boxes = config.default_hooks.boxes
    if boxes.start is not None:
        boxes.start = 1  # The config's start, 2, would be after the last epoch.
    train(
        config,
        Namespace(
            config=str(path), work_dir=str(tmp_path), launcher="none", amp=False, resume=None,
            auto_scale_lr=False,
        ),
    )  # fmt: skip
    found = logged_lines(tmp_path)
    losses = [line["loss"] for line in found if "loss" in line]
    assert len(losses) == 4 and all(math.isfinite(loss) for loss in losses)
    scores = {key for line in found for key in line if key.startswith("knn/")}
    checkpoint = read_checkpoint(tmp_path / "epoch_2.pth")
    parts = {key.split(".")[0] for key in checkpoint["state_dict"]}
    teacherless = "no-teacher" in path.stem or "student-only" in path.stem
    if teacherless:
        assert parts == {"backbone", "neck"} and scores == {"knn/student_top1"}
        assert not any("teacher_momentum" in line for line in found)
    else:
        assert parts == {"backbone", "neck", "teacher"}
        assert scores == {"knn/student_top1", "knn/teacher_top1"}
    normed = any("running_mean" in key for key in checkpoint["state_dict"])
    assert normed == ("-bn" in path.stem)
    assert ("boxes" in checkpoint) == (boxes.start is not None)
