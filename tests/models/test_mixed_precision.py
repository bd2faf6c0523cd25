"""float16 with a dynamic loss scale: correct gradients, and no step if they are infinite."""

from functools import partial

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from tests.models.test_bam import build, views

WRAPPER = "mmengine.optim.optimizer.amp_optimizer_wrapper"


def float16_wrapper(model, monkeypatch, fused):
    """Build the wrapper of a config on a CPU, although mmengine requires a GPU."""
    monkeypatch.setattr(f"{WRAPPER}.is_cuda_available", lambda: True)
    monkeypatch.setattr(f"{WRAPPER}.GradScaler", partial(torch.amp.GradScaler, device="cpu"))
    config = dict(
        type="bam_mm.AmpOptimWrapper",
        dtype="float16",
        optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.04, fused=fused),
        paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
        constructor="bam_mm.StudentOptimWrapperConstructor",
        clip_grad=dict(max_norm=0.3),
    )
    return build_optim_wrapper(model, config)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scaled_gradients_are_those_of_float32(dtype):
    exact, model = build(), build()
    exact.loss(views())["loss"].backward()
    with torch.autocast("cpu", dtype=dtype):
        loss = model.loss(views())["loss"]
    assert loss.dtype is torch.float32
    (65536.0 * loss).backward()  # The initial scale of the loss scaler.
    wanted, found = (
        torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None])
        for m in (exact, model)
    )
    found /= 65536.0
    assert found.isfinite().all()
    similarity = torch.nn.functional.cosine_similarity(wanted, found, dim=0)
    assert similarity > (0.9999 if dtype is torch.float16 else 0.99)
    assert float(found.norm() / wanted.norm()) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_step_clips_unscaled_gradients_and_skips_infinite_ones(monkeypatch, fused):
    model = build()
    wrapper = float16_wrapper(model, monkeypatch, fused)
    weight = model.neck.layers[0].weight
    with torch.autocast("cpu", dtype=wrapper.cast_dtype):
        loss = model.loss(views())["loss"]
    assert wrapper.cast_dtype is torch.float16
    wrapper.zero_grad()
    wrapper.backward(loss)
    raw = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    before = weight.clone()
    wrapper.step()
    clipped = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    # The gradients are clipped after unscaling.
    assert float(clipped) == pytest.approx(min(float(raw) / 65536.0, 0.3), rel=1e-3)
    assert not torch.equal(weight, before)

    before = weight.clone()
    wrapper.zero_grad()
    wrapper.backward(weight.sum() * torch.tensor(torch.inf))
    wrapper.step()
    assert torch.equal(weight, before)
    # The skipped step is not counted either: Adam's bias correction depends on the count.
    assert wrapper.optimizer.state[weight]["step"] == 1
    assert wrapper.loss_scaler.get_scale() == 32768.0
    assert wrapper.state_dict()["loss_scaler"]["scale"] == 32768.0
