"""A toy pretraining with a tracker: names and steps of its curves, its pictures, and its log."""

from pathlib import Path

import pytest
import torch
from mmengine.logging import MessageHub

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.hooks import collapse_monitor
from tests.figures.recording import RecordingVisBackend

CONFIG = (
    Path(__file__).resolve().parents[2] / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
)


def options(world):
    return [
        f"data_root={world / 'images'}", "max_epochs=2", "train_dataloader.batch_size=12",
        "train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False",
        "custom_hooks.1.interval=2", "default_hooks.logger.interval=2",
        "custom_hooks.2.k=5", "custom_hooks.2.bank_fraction=1.0", "custom_hooks.2.interval=1",
        "knn_bank.num_workers=0", "knn_queries.num_workers=0",
        "default_hooks.boxes.start=1", "default_hooks.boxes.loader.num_workers=0",
    ]  # fmt: skip


def test_a_pretraining_sends_every_number_and_is_not_changed(tool, tmp_path, monkeypatch):
    world = tmp_path / "world"
    make_world(world, scale=0.012)  # 48 images: 4 iterations an epoch
    RecordingVisBackend.clear()
    measured, feature_std = [], collapse_monitor.feature_std

    def measure(features):
        iteration = MessageHub.get_current_instance().get_info("iter") + 1
        measured.append((iteration, float(value := feature_std(features))))
        return value

    monkeypatch.setattr(collapse_monitor, "feature_std", measure)
    tracked, plain = tmp_path / "tracked", tmp_path / "plain"
    code, output, _ = tool(
        "train.py", CONFIG, "--work-dir", tracked, "--vis", "recording", options=options(world)
    )
    assert code == 0
    scalars, images = RecordingVisBackend.scalars, RecordingVisBackend.images

    # Every number of every hook, with the iteration as the step.
    steps = {name: [step for step, _ in points] for name, points in scalars.items()}
    every = [2, 4, 6, 8]
    logged = ("loss", "lr", "base_lr", "grad_norm", "time", "data_time", "epoch", "iter")
    monitored = ("attention_entropy", "target_entropy", "feature_std", "teacher_momentum")
    assert steps == {
        **dict.fromkeys((*logged, *monitored), every),
        "knn/teacher_top1": [0, 4, 8],
        "knn/student_top1": [0, 4, 8],
        "boxes/area": [4],
        "boxes/whole_images": [4],
    }
    # What is logged for an iteration was measured in it.
    assert scalars["feature_std"] == measured
    assert {name: sorted(found) for name, found in images.items()} == {
        "views": [1, 5],
        "attention": [0, 4, 8],
        "neighbours": [0, 4, 8],
    }
    # Six images and two views of each; eight images, themselves and the maps of both branches.
    assert images["views"][1].shape == (6 * 96 + 5 * 3, 3 * 96 + 2 * 3, 3)
    assert images["attention"][0].shape == (3 * 96 + 2 * 3, 8 * 96 + 7 * 3, 3)
    assert (images["attention"][0][:96] == images["attention"][8][:96]).all()
    assert (images["attention"][0][99:] != images["attention"][8][99:]).any()

    # The log: one line each for config, hooks and optimizer, in the file too.
    (file,) = tracked.glob("*/*.log")
    for text in (output, file.read_text()):
        lines = text.splitlines()
        first = next(n for n, line in enumerate(lines) if "Epoch(train) [1][2/4]" in line)
        assert first < 65 and "paramwise_options" not in text
        assert "59 tensors (799,104 numbers); weight decay 0: 38 tensors, 0.04: 21" in text
        assert f"config: {tracked / CONFIG.name}" in text and (tracked / CONFIG.name).is_file()

    # The same weights without any of it.
    code, *_ = tool("train.py", CONFIG, "--work-dir", plain, options=options(world))
    assert code == 0
    first, second = (read_checkpoint(work / "epoch_2.pth") for work in (tracked, plain))
    assert first["state_dict"].keys() == second["state_dict"].keys()
    for name, tensor in first["state_dict"].items():
        assert torch.equal(tensor, second["state_dict"][name]), name
    # Neither uses a random number more or less.
    states, others = (checkpoint["random_states"][0] for checkpoint in (first, second))
    assert states["torch"].numel() > 1000 and torch.equal(states["torch"], others["torch"])
    assert torch.equal(states["numpy"][0], others["numpy"][0])
    assert states["numpy"][1:] == others["numpy"][1:] and states["python"] == others["python"]
    assert not list(plain.glob("*/vis_data/vis_image")) and len(scalars["loss"]) == len(every)

    # The metrics of a test, at the iteration of the checkpoint.
    code, *_ = tool(
        "test.py", CONFIG, tracked / "epoch_2.pth", "--work-dir", tracked, "--vis", "recording",
        options=[f"data_root={world / 'images'}", "test_cfg.k=[5]"],
    )  # fmt: skip
    assert code == 0
    [(step, top1)] = scalars["test/knn_k5/top1"]
    assert step == 8 and top1 == pytest.approx(scalars["knn/teacher_top1"][-1][1])


def test_unknown_and_missing_backends_stop_before_the_run(tool, tmp_path, monkeypatch):
    work = tmp_path / "run"
    code, _, errors = tool("train.py", CONFIG, "--work-dir", work, "--vis", "tensorbord")
    assert code == 1 and "--vis tensorbord: there is no such backend; choose aim, " in errors[0]
    monkeypatch.setattr("bam_mm.launch.backends.find_spec", lambda name: None)
    code, _, errors = tool("train.py", CONFIG, "--work-dir", work, "--vis", "clearml")
    assert code == 1 and len(errors) == 1
    assert "the package clearml is not installed; run `" in errors[0]
    assert "-m pip install clearml`, or leave the option out" in errors[0] and not work.exists()
