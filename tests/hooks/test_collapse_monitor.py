"""The collapse monitor: its values, and when it stops a run."""

import math
from types import SimpleNamespace

import pytest
import torch

from bam_mm import InputError
from bam_mm.hooks import CollapseMonitorHook
from bam_mm.hooks.collapse_monitor import CollapsedError, feature_std
from tests.models.test_bam import build


def test_feature_std_by_hand():
    # Two opposite unit vectors have standard deviations 1 and 0: mean 1/2, times sqrt(2).
    assert feature_std(torch.tensor([[3.0, 0], [-5.0, 0]])).item() == pytest.approx(0.5 * 2**0.5)
    assert feature_std(torch.ones(10, 4)).item() == pytest.approx(0, abs=1e-7)
    spread = torch.randn(20_000, 64, generator=torch.Generator().manual_seed(0))
    assert feature_std(spread).item() == pytest.approx(1.0, abs=0.01)


class FakeRunner:
    def __init__(self, model):
        self.model, self.iter, self.logged = model, 0, {}
        self.message_hub = SimpleNamespace(update_scalar=self.logged.__setitem__)


def drive(hook, features, iterations, start=0):
    model = build()
    runner = FakeRunner(model)
    for step in range(start, start + iterations):
        runner.iter = step
        hook.before_train_iter(runner, step)  # As in a training that counts iterations.
        model.last_projection = features
        model.head.entropies = (
            {"attention_entropy": torch.tensor(1.0)} if model.head.monitor else {}
        )
        hook.after_train_iter(runner, step)
    return runner


def test_collapsed_features_stop_the_run_after_patience():
    hook = CollapseMonitorHook(interval=10, patience=3, warmup=0)
    drive(hook, torch.ones(8, 4), 29)
    with pytest.raises(CollapsedError, match=r"iteration 30: the features have collapsed.*0\.0000"):
        drive(hook, torch.ones(8, 4), 1, start=29)
    assert issubclass(CollapsedError, InputError)


def test_a_single_low_check_does_not_stop_the_run():
    hook = CollapseMonitorHook(interval=1, patience=2, warmup=0)
    drive(hook, torch.ones(8, 4), 1)
    drive(hook, torch.randn(8, 4), 1)
    drive(hook, torch.ones(8, 4), 1)
    assert hook.low == 1


def test_warmup_and_stop_false_do_not_stop_the_run():
    drive(CollapseMonitorHook(interval=1, patience=1, warmup=50), torch.ones(8, 4), 50)
    drive(CollapseMonitorHook(interval=1, patience=1, warmup=0, stop=False), torch.ones(8, 4), 50)


def test_features_that_are_not_finite_stop_the_run_immediately():
    with pytest.raises(CollapsedError, match="no longer finite"):
        drive(CollapseMonitorHook(interval=1), torch.full((8, 4), math.nan), 1)


def test_checks_and_logs_only_at_the_interval():
    runner = drive(CollapseMonitorHook(interval=10), torch.randn(8, 4), 11)
    assert set(runner.logged) == {"train/attention_entropy", "train/feature_std"}
    model = build()
    hook = CollapseMonitorHook(interval=10)
    requested = []
    for step in range(25):
        hook.before_train_iter(SimpleNamespace(model=model, iter=step), step)
        requested.append(model.head.monitor)
    assert [i for i, flag in enumerate(requested) if flag] == [9, 19]


def test_a_model_without_a_projector_is_rejected():
    with pytest.raises(InputError, match=r"Linear has no projector \(model.neck\)"):
        CollapseMonitorHook(interval=1).before_train_iter(
            SimpleNamespace(model=torch.nn.Linear(1, 1), iter=0), 0
        )
