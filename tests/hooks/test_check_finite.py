"""A run stops at the first loss, weight or metric that is NaN or infinite, and saves nothing."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from bam_mm.errors import InputError, SharedError
from bam_mm.hooks import CheckFiniteHook, check_finite, finiteness
from bam_mm.hooks.check_finite import divergence_explained
from bam_mm.hooks.finiteness import NotFiniteError, check_metrics
from tests.hooks.tiny_runner import build, config_of, names, run


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("loop", [dict(iters=5), dict(epochs=3)], ids=["iterations", "epochs"])
def test_a_run_stops_at_the_first_loss_that_is_not_finite(tmp_path, monkeypatch, value, loop):
    config = config_of(tmp_path, model=dict(planned={"3": {"loss": value}}), **loop)
    with pytest.raises(NotFiniteError) as error:
        run(config, monkeypatch)
    text = str(error.value)
    assert f"iteration 3, learning rate 0.25: loss is {value}" in text
    assert "optim_wrapper.optimizer.lr" in text and "clip_grad" in text and "--resume" in text
    assert isinstance(error.value, SharedError) and isinstance(error.value, InputError)
    assert names(tmp_path) == (["iter_1.pth", "iter_2.pth"] if "iters" in loop else ["epoch_1.pth"])


def test_the_terms_are_named_and_other_values_may_be_anything(tmp_path, monkeypatch):
    planned = {
        "1": {"loss_box": 1.0, "acc": math.nan},
        "2": {"loss_cls": 1.0, "loss_box": math.nan},
    }
    with pytest.raises(NotFiniteError) as error:
        run(config_of(tmp_path, model=dict(planned=planned)), monkeypatch)
    assert "iteration 2" in str(error.value)
    assert "loss is nan, loss_box is nan:" in str(error.value)


def test_the_first_iteration_points_to_data_and_weights(tmp_path, monkeypatch):
    config = config_of(tmp_path, model=dict(planned={"1": {"loss": math.nan}}))
    with pytest.raises(NotFiniteError, match="before the first update, so check the images, their"):
        run(config, monkeypatch)


@pytest.mark.parametrize("name", ["weight", "norm.running_var"])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, monkeypatch, name):
    # The loss stays finite.
    config = config_of(tmp_path, iters=4, model=dict(spoil_at=3, spoil=name))
    with pytest.raises(NotFiniteError, match=f"iteration 3: 1 of the model's 5 tensors .*{name}"):
        run(config, monkeypatch)
    assert names(tmp_path) == ["iter_1.pth", "iter_2.pth"]


def test_mmengines_own_checkpoint_hook_saves_nothing_either(tmp_path, monkeypatch):
    config = config_of(tmp_path, iters=4, model=dict(spoil_at=2))
    config.default_hooks.checkpoint = dict(type="CheckpointHook", by_epoch=False, interval=1)
    with pytest.raises(NotFiniteError, match="iteration 2: 1 of"):
        run(config, monkeypatch)
    assert names(tmp_path) == ["iter_1.pth"]


@pytest.mark.parametrize("part", ["train", "test"])
def test_metrics_that_are_not_finite_stop_validation_and_test(tmp_path, monkeypatch, part):
    runner = build(config_of(tmp_path, epochs=1, metric=math.nan), monkeypatch)
    what = {"train": "validation", "test": "test"}[part]
    with pytest.raises(NotFiniteError, match=f"^{what}: planned/score is not finite.* 4 items"):
        getattr(runner, part)()


def test_an_exception_after_a_loss_that_is_not_finite_is_explained(tmp_path, monkeypatch):
    model = dict(planned={"2": {"loss": math.nan}}, fail_at=3)
    runner = build(config_of(tmp_path, images=8, model=model), monkeypatch)
    # As on a GPU.
    monkeypatch.setattr(CheckFiniteHook, "_read_at_once", lambda self, losses: False)
    expected = pytest.raises(InputError, match=r"iteration 2, .* loss is nan")
    with expected as error, divergence_explained(runner):
        runner.train()
    # Other processes need not fail, so that the first one might print nothing.
    assert not isinstance(error.value, SharedError)
    runner = build(config_of(tmp_path, model=dict(fail_at=3)), monkeypatch)
    with pytest.raises(RuntimeError, match="index out of range"), divergence_explained(runner):
        runner.train()


class Iterations:
    """Feeds losses to a hook, iteration by iteration."""

    def __init__(self, hook, *, scaler=False, length=1000):
        self.hook = hook
        optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}, {"lr": 0.5}])
        scaling = SimpleNamespace(is_enabled=lambda: scaler)
        self.runner = SimpleNamespace(
            iter=0,
            max_iters=10**6,
            hooks=[hook],
            train_dataloader=range(length),
            model=None,
            optim_wrapper=SimpleNamespace(optimizer=optimizer, loss_scaler=scaling),
        )

    def feed(self, *losses):
        for loss in losses:
            self.hook.after_train_iter(self.runner, self.runner.iter, outputs={"loss": loss})
            self.runner.iter += 1


def test_a_loss_scaler_tolerates_some_in_a_row():
    nan, fine = torch.tensor(math.nan), torch.tensor(1.0)
    run = Iterations(CheckFiniteHook(tolerated=2), scaler=True)
    run.feed(fine, nan, nan, fine, nan, nan, fine)
    with pytest.raises(NotFiniteError) as error:
        run.feed(nan, nan, nan)
    assert "iteration 10, learning rate 0.5: loss is nan (in 3 iterations in a row" in str(
        error.value
    )
    assert "optim_wrapper.dtype=bfloat16" in str(error.value)
    with pytest.raises(NotFiniteError, match="iteration 2,"):
        Iterations(CheckFiniteHook(tolerated=2)).feed(fine, nan)


def test_nothing_is_read_from_a_device_between_two_checks():
    run = Iterations(CheckFiniteHook(interval=50))
    with FakeTensorMode():
        loss = torch.ones((), device="cuda")
        run.feed(*[loss] * 49)
        with pytest.raises(DataDependentOutputException):
            run.feed(loss)
    run = Iterations(CheckFiniteHook())
    run.hook.read_anyway = True  # mmengine's RuntimeInfoHook waits in every iteration.
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        run.feed(torch.ones((), device="cuda"))


@pytest.mark.parametrize("length, stopped_at", [(1000, 50), (7, 7)])
def test_a_later_check_names_the_first_iteration(monkeypatch, length, stopped_at):
    monkeypatch.setattr(check_finite, "world_size", lambda: 2)  # Processes decide together.
    run = Iterations(CheckFiniteHook(), length=length)
    with pytest.raises(NotFiniteError, match=r"iteration 4, learning rate 0\.5: loss is inf"):
        run.feed(*map(torch.tensor, [1.0, 1.0, 1.0, math.inf, *[math.nan] * 96]))
    assert run.runner.iter + 1 == stopped_at


@pytest.mark.parametrize(
    "metrics, words",
    [
        ({"mIoU": math.nan, "aAcc": np.float64("nan")}, ["mIoU, aAcc are not finite", "no pixel"]),
        ({"mIoU": torch.tensor(math.nan)}, ["mIoU is not finite", "12 maps in /d/maps"]),
        ({"mIoU": np.float32("inf")}, ["values 1 to 3; others are ignored", "reduce_zero_label"]),
    ],
)
def test_the_message_about_maps_without_a_labelled_pixel(metrics, words):
    class Maps(list):
        data_prefix = {"seg_map_path": "/d/maps"}
        metainfo = {"classes": ("sky", "sea", "tree")}
        reduce_zero_label = True

    with pytest.raises(NotFiniteError) as error:
        check_metrics("test", metrics, SimpleNamespace(dataset=Maps([0] * 12)))
    assert all(word in str(error.value) for word in words), error.value


def test_finite_metrics_pass():
    # COCO's -1 means that there is no instance of this size.
    metrics = {
        "coco/bbox_mAP_l": -1.0,
        "n": 3,
        "copypaste": "-1 -1",
        "table": [math.nan],
        "x": None,
    }
    check_metrics("test", metrics, [])
    check_metrics("test", None, [])


def test_a_class_without_objects_is_logged(monkeypatch):
    said = []
    monkeypatch.setattr(finiteness, "print_log", lambda text, **_: said.append(text))
    data = SimpleNamespace(ann_file="val.json", data_prefix={"img": "x"})
    metrics = {"coco/a_precision": 0.5, "coco/b_precision": math.nan, "coco/bbox_mAP": 0.5}
    check_metrics("test", metrics, data)
    assert said == ["test: coco/b_precision is NaN, because val.json has no object of this class"]


@pytest.mark.parametrize(
    "metrics, bad",
    [
        ({"coco/a_precision": math.nan, "coco/bbox_mAP": -1.0}, "coco/a_precision is"),
        ({"coco/a_precision": 1.0, "coco/b_precision": math.inf}, "coco/b_precision is"),
        ({"coco/a_precision": 1.0, "voc/b_precision": math.nan}, "voc/b_precision is"),
        ({"coco/a_precision": 1.0, "single-label/precision": math.nan}, "single-label/precision"),
        (
            {"c/a_precision": 1.0, "c/b_precision": math.nan, "c/bbox_mAP": math.nan},
            "^test: c/bbox_mAP is",
        ),
    ],
)
def test_other_metrics_of_detection_stop(metrics, bad):
    with pytest.raises(NotFiniteError, match=f"{bad}.* not finite|{bad} not finite"):
        check_metrics("test", metrics, [])


def test_values_that_are_no_single_number_pass():
    square = torch.full((2, 2), math.nan)
    check_metrics("test", {"confusion_matrix/result": square, "array": square.numpy()}, [])
    check_metrics("test", {"empty": torch.ones(0), "fake": torch.empty((), device="meta")}, [])


@pytest.mark.parametrize("options", [dict(interval=0), dict(tolerated=-1)])
def test_wrong_settings(options):
    with pytest.raises(InputError, match=r"interval must be at least 1, and tolerated at least 0"):
        CheckFiniteHook(**options)


@pytest.mark.parametrize("name", ["default_runtime", "mmdet_runtime", "mmseg_runtime"])
def test_every_kind_of_config_has_the_hook(name):
    path = Path(__file__).resolve().parents[2] / f"configs/_base_/{name}.py"
    assert Config.fromfile(path).default_hooks.check_finite == dict(type="bam_mm.CheckFiniteHook")
