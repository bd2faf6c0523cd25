"""TensorBoard and Weights & Biases: steps, resumed runs, and what the backends are told."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.visualization import Visualizer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bam_mm import InputError
from bam_mm.figures.predictions import ShowPredictionsHook
from bam_mm.figures.tracking import TensorboardVisBackend, TrackingHook, WandbVisBackend
from tests.figures.recording import RecordingVisBackend
from tests.figures.test_predictions import HEIGHT, WIDTH, detections


def folder(work: Path, start: int) -> str:
    return str(work / f"2026010{start}_120000" / "vis_data")


def test_a_resumed_run_continues_its_curve(tmp_path):
    # The run logs five iterations and is killed; its checkpoint is of the third.
    for start, iterations, steps in ((1, 0, (1, 2, 3, 4, 5)), (2, 3, (4, 5, 6))):
        backend = TensorboardVisBackend(folder(tmp_path, start), resume=start > 1)
        backend.add_config(Config(dict(a=start)))
        backend.begin(iterations)
        for step in steps:
            backend.add_scalars({"loss": 10.0 * start + step}, step)
            backend.add_image("views", np.zeros((2, 3, 3), np.uint8), step)
        backend.close()
    assert not Path(folder(tmp_path, 2)).exists()
    events = EventAccumulator(folder(tmp_path, 1), size_guidance=dict(images=0)).Reload()
    points = [(point.step, point.value) for point in events.Scalars("loss")]
    assert points == [(1, 11.0), (2, 12.0), (3, 13.0), (4, 24.0), (5, 25.0), (6, 26.0)]
    assert [image.step for image in events.Images("views")] == [1, 2, 3, 4, 5, 6]
    assert events.Tags()["tensors"] == ["config/text_summary"]
    # A new run in the same folder has curves of its own, and so has one without an earlier start.
    for resume, start, work in ((False, 3, tmp_path), (True, 4, tmp_path / "other")):
        TensorboardVisBackend(folder(work, start), resume=resume).add_scalar("loss", 1.0, 1)
        assert list(Path(folder(work, start)).glob("events.out.tfevents.*"))


class UsageError(Exception):
    __module__ = "wandb.errors"


@pytest.fixture
def wandb(monkeypatch):
    """A module that records the calls."""
    calls = []
    fake = SimpleNamespace(
        calls=calls,
        init=lambda **kwargs: calls.append(("init", kwargs)),
        log=lambda values, commit: calls.append(("log", values)),
        define_metric=lambda *names, **kwargs: calls.append(("define_metric", names, kwargs)),
        Image=lambda image: ("image", image.shape),
        config=SimpleNamespace(update=lambda *args, **kw: calls.append(("config", *args, kw))),
        finish=lambda: calls.append(("finish",)),
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for name in ("WANDB_NAME", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return fake


def test_values_have_their_step_and_a_work_folder_one_run(wandb, tmp_path, monkeypatch):
    work = tmp_path / "work_dirs" / "vit" / "seed0"
    backend = WandbVisBackend(folder(work, 1), init_kwargs=dict(project="p"))
    backend.add_config(Config(dict(seed=1)))
    backend.add_scalars({"loss": 2.0, "time": 0.5}, 7)
    monkeypatch.setattr(MessageHub, "get_info", lambda self, key, default=None: "val")
    backend.add_scalars({"accuracy/top1": 3.0, "time": 0.1}, 7)
    backend.add_image("views", np.zeros((2, 3, 3), np.uint8), 9)
    backend.close()
    init, *others = wandb.calls
    identity = init[1].pop("id")
    assert (
        init[1] == dict(dir=folder(work, 1), project="p", name="vit/seed0", resume="allow")
        and (work / "wandb_run.txt").read_text() == f"{identity}\n"
    )
    assert others == [
        ("define_metric", ("step",), {}),
        ("define_metric", ("*",), dict(step_metric="step")),
        ("config", dict(seed=1), dict(allow_val_change=True)),
        ("log", {"loss": 2.0, "time": 0.5, "step": 7}),
        # Both a training and its validation log a time.
        ("log", {"accuracy/top1": 3.0, "val/time": 0.1, "step": 7}),
        ("log", {"views": ("image", (2, 3, 3)), "step": 9}),
        ("finish",),
    ]

    def identity_of(start, **options):
        wandb.calls.clear()
        WandbVisBackend(folder(work, start), **options).add_scalar("loss", 1.0, 1)
        return wandb.calls[0][1].get("id")

    assert identity_of(2, resume=True) == identity
    new = identity_of(3)
    assert new != identity and identity_of(4, resume=True) == new
    assert identity_of(5, init_kwargs=dict(id="mine")) == "mine"
    monkeypatch.setenv("WANDB_RUN_ID", "theirs")
    assert identity_of(6) is None  # wandb reads it itself.


def test_what_wandb_refuses_is_one_message(wandb, tmp_path):
    def refuse(**kwargs):
        raise UsageError("No API key configured.")

    wandb.init = refuse
    with pytest.raises(InputError, match=r"does not start \(No API key.*wandb login.*offline"):
        WandbVisBackend(folder(tmp_path, 1)).add_scalar("loss", 1.0, 1)


def test_a_fault_of_another_kind_stays_what_it_is(wandb, tmp_path):
    def fail(**kwargs):
        raise OSError("No space left on device")

    wandb.init = fail
    with pytest.raises(OSError, match="No space left"):
        WandbVisBackend(folder(tmp_path, 1)).add_scalar("loss", 1.0, 1)


def test_the_backends_learn_from_where_a_run_continues():
    begun = []

    class Continuing(RecordingVisBackend):
        def begin(self, iterations):
            begun.append(iterations)

    # The other has no such method.
    visualizer = Visualizer(vis_backends=[RecordingVisBackend(), Continuing()])
    TrackingHook().before_train(SimpleNamespace(visualizer=visualizer, iter=3))
    assert begun == [3]


def test_metrics_of_a_test_that_are_numbers():
    RecordingVisBackend.clear()
    visualizer = Visualizer(vis_backends=[RecordingVisBackend()])
    metrics = dict(top1=1, mIoU=np.float32(0.5), loss=torch.tensor(2.0), matrix=np.eye(2), name="a")
    TrackingHook(step=30).after_test_epoch(SimpleNamespace(visualizer=visualizer), metrics)
    assert RecordingVisBackend.scalars == {
        "test/top1": [(30, 1.0)], "test/mIoU": [(30, 0.5)], "test/loss": [(30, 2.0)],
    }  # fmt: skip


@pytest.mark.parametrize("part, step", [("val", 40), ("test", 30)])
def test_predictions_reach_the_backends(tmp_path, part, step):
    import cv2

    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 100, np.uint8))
    RecordingVisBackend.clear()
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={"classes": ("dog", "cat")}))
    runner = SimpleNamespace(
        test_dataloader=loader,
        val_dataloader=loader,
        work_dir=str(tmp_path),
        iter=40 * (part == "val"),  # mmengine has no iterations in a test.
        hooks=[TrackingHook(step=30)],
        visualizer=Visualizer(vis_backends=[RecordingVisBackend()]),
    )
    hook = ShowPredictionsHook(num=2)
    for _ in range(2):  # Each validation draws again.
        getattr(hook, f"before_{part}")(runner)
        for batch in range(2):
            getattr(hook, f"after_{part}_iter")(runner, batch, outputs=[detections(path)])
    found = RecordingVisBackend.images
    assert {name: [*steps] for name, steps in found.items()} == {
        f"{part}_00_photo": [step], f"{part}_01_photo": [step],
    }  # fmt: skip
    picture = found[f"{part}_00_photo"][step]
    assert picture.shape[0] == HEIGHT and (picture[:, :WIDTH] == 100).all()
    files = list(tmp_path.glob("predictions/*.png"))
    assert len(files) == (2 if part == "test" else 0)
    # Without a tracker, a validation draws nothing.
    runner.visualizer, hook._drawn = Visualizer(vis_backends=[]), 0
    hook.after_val_iter(runner, 0, outputs=[detections(path)])
    assert hook._drawn == 0
