"""A training iteration reads nothing from the device unless values are logged."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import LoggerHook, ParamSchedulerHook, RuntimeInfoHook
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from bam_mm.hooks import CollapseMonitorHook, DeferredRuntimeInfoHook, TeacherUpdateHook
from tests.models.test_bam import build, views

WRAPPER = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.04, fused=True),
    constructor="bam_mm.StudentOptimWrapperConstructor",
    clip_grad=dict(max_norm=0.3),
)
ITERATIONS = 4


class Loader:
    dataset = None

    def __len__(self):
        return 500


def run_without_numbers(info, monitor_interval=50, **model_options):
    """Run iterations 1 to 4 of 500 on tensors that have a shape but no numbers.

    Code that reads a number (``item``, ``tolist``, ``if``, a boolean mask as index) fails.
    """
    model = build(**model_options)
    inputs = views()
    mode = FakeTensorMode()
    with mode:
        model._apply(mode.from_tensor)
        inputs = [mode.from_tensor(view) for view in inputs]
        wrapper = build_optim_wrapper(model, WRAPPER)
        monitor = CollapseMonitorHook(interval=monitor_interval)
        hooks = [info, TeacherUpdateHook(), monitor, LoggerHook(interval=50), ParamSchedulerHook()]
        runner = SimpleNamespace(
            model=model,
            optim_wrapper=wrapper,
            hooks=hooks,
            epoch=0,
            iter=0,
            max_epochs=2,
            max_iters=1000,
            train_dataloader=Loader(),
            message_hub=MessageHub.get_instance(f"without numbers {id(mode)}"),
            param_schedulers=[],
        )
        info.before_train(runner)
        for step in range(1, 1 + ITERATIONS):
            runner.iter = step
            for hook in hooks:
                hook.before_train_iter(runner, step)
            with torch.autocast("cpu", torch.bfloat16):
                losses = model.loss(inputs)
            loss, outputs = model.parse_losses(losses)
            wrapper.update_params(loss)
            for hook in hooks:
                hook.after_train_iter(runner, step, outputs=outputs)
    return info


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(teacher_views="all"),
        dict(use_teacher=True, activation_checkpointing=True),
        dict(head=dict(type="bam_mm.BAMHead", top_k=2)),
    ],
    ids=["default", "all views", "checkpointing", "top k"],
)
def test_nothing_is_read_between_two_lines_of_the_log(options):
    info = run_without_numbers(DeferredRuntimeInfoHook(), **options)
    assert [name for name, _ in info.pending] == ["train/grad_norm", "train/loss"] * ITERATIONS
    assert not any(value.requires_grad for _, value in info.pending)


def test_reads_are_detected():
    with pytest.raises(DataDependentOutputException):
        run_without_numbers(RuntimeInfoHook())
    with pytest.raises(DataDependentOutputException):
        run_without_numbers(DeferredRuntimeInfoHook(), monitor_interval=2)
