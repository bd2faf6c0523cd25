"""Learning rate, LARS and gradient clipping of the ResNet-50 pretraining configs."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

from tests.configs.test_pretraining_settings import RESNET, flat, settings

pytestmark = pytest.mark.slow


def test_the_literal_learning_rate_is_the_only_difference():
    default, literal = flat(settings(RESNET)), flat(settings(f"{RESNET}-lr0.3"))
    changed = {key for key in {**default, **literal} if default.get(key) != literal.get(key)}
    assert changed == {"optim_wrapper.optimizer.lr"}


def lars_step(clip_grad):
    """Take one step of LARS; return for each parameter: value before and after, gradient, group."""
    config = settings(RESNET)
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    model = nn.Module()
    model.backbone = MODELS.build(dict(config.model.backbone, stem_channels=4, base_channels=4))
    model.neck = MODELS.build(dict(config.model.neck, in_channels=128, hid_channels=8))
    wrapper = dict(config.optim_wrapper, type="OptimWrapper", clip_grad=clip_grad)
    del wrapper["dtype"]
    wrapper = build_optim_wrapper(model, wrapper)
    groups = {id(p): g for g in wrapper.param_groups for p in g["params"]}
    before, gradients = {}, {}
    for name, parameter in model.named_parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        before[name], gradients[name] = parameter.detach().clone(), parameter.grad.clone()
    wrapper.step()
    return {
        name: (before[name], parameter.detach(), gradients[name], groups[id(parameter)])
        for name, parameter in model.named_parameters()
    }


def test_lars_scales_weights_but_not_biases_and_norms():
    for name, (old, new, gradient, group) in lars_step(None).items():
        excluded = old.ndim == 1
        assert group.get("lars_exclude", False) == excluded, name
        assert group["weight_decay"] == (0.0 if excluded else 1e-6), name
        if excluded:
            expected = old - 4.8 * gradient
        else:
            trust = 0.001 * old.norm() / (gradient.norm() + 1e-6 * old.norm() + 1e-8)
            expected = old - 4.8 * trust * (gradient + 1e-6 * old)
        torch.testing.assert_close(new, expected, atol=1e-6, rtol=1e-4, msg=name)


def test_clipping_changes_only_what_lars_does_not_scale():
    steps = lars_step(settings(RESNET).optim_wrapper.clip_grad)
    total = torch.stack([gradient.norm() for _, _, gradient, _ in steps.values()]).norm()
    assert total > 100  # Clipping to .3 divides all gradients by hundreds.
    for (name, (old, new, _, _)), free in zip(steps.items(), lars_step(None).values(), strict=True):
        step, whole = new - old, free[1] - free[0]
        factor = 0.3 / float(total) if old.ndim == 1 else 1
        torch.testing.assert_close(step, factor * whole, atol=1e-5, rtol=5e-3, msg=name)
