"""The loss is scaled for float16 only, whatever a resumed checkpoint contains."""

import copy
from functools import partial

import pytest
import torch
from mmengine.optim import AmpOptimWrapper as ScalingWrapper

from bam_mm import AmpOptimWrapper

WRAPPER = "mmengine.optim.optimizer.amp_optimizer_wrapper"


def cpu_wrapper(monkeypatch, kind, weight, **kw):
    monkeypatch.setattr(f"{WRAPPER}.is_cuda_available", lambda: True)
    monkeypatch.setattr(f"{WRAPPER}.GradScaler", partial(torch.amp.GradScaler, device="cpu"))
    return kind(optimizer=torch.optim.SGD([weight], lr=0.1, momentum=0.9), **kw)


def step(wrapper, weight):
    wrapper.update_params((weight * torch.arange(1.0, 4.0)).sum())


@pytest.mark.parametrize(
    "settings, enabled",
    [
        (dict(dtype="bfloat16"), False),
        (dict(dtype=torch.bfloat16), False),
        (dict(dtype="float32"), False),
        (dict(dtype="float16"), True),
        (dict(), True),
        (dict(dtype="bfloat16", loss_scale="dynamic"), True),
        (dict(dtype="bfloat16", loss_scale=8.0), True),
        (dict(dtype="float16", loss_scale=dict(enabled=False)), False),
    ],
    ids=str,
)
def test_only_float16_scales_the_loss_by_default(settings, enabled, monkeypatch):
    weight = torch.nn.Parameter(torch.ones(3))
    wrapper = cpu_wrapper(monkeypatch, AmpOptimWrapper, weight, **settings)
    assert wrapper.loss_scaler.is_enabled() == enabled
    wrapper.backward((weight * 2).sum())
    scale = wrapper.loss_scaler.get_scale()
    assert (scale > 1) == enabled
    assert weight.grad.tolist() == [2 * scale] * 3
    wrapper.step()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 1 - 0.1 * 2))


@pytest.mark.parametrize("scaled", [True, False], ids=["with scale", "without scale"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_resuming_from_checkpoints_with_and_without_a_scale(scaled, dtype, monkeypatch):
    weight = torch.nn.Parameter(torch.ones(3))
    before = cpu_wrapper(
        monkeypatch, ScalingWrapper, weight,
        loss_scale="dynamic" if scaled else dict(enabled=False),
    )  # fmt: skip
    step(before, weight)
    if scaled:
        before.loss_scaler.update(1024.0)
    saved = copy.deepcopy(before.state_dict())
    assert bool(saved["loss_scaler"]) == scaled
    after = torch.nn.Parameter(weight.detach().clone())
    wrapper = cpu_wrapper(monkeypatch, AmpOptimWrapper, after, dtype=dtype)
    wrapper.load_state_dict(saved)
    step(before, weight), step(wrapper, after)
    assert torch.equal(weight, after)
    expected = {("float16", True): 1024.0, ("float16", False): 65536.0}
    assert wrapper.loss_scaler.get_scale() == expected.get((dtype, scaled), 1.0)
