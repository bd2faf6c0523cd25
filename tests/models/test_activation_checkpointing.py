"""Activation checkpointing changes memory and time, and nothing else."""

import copy

import pytest
import torch
from torch import nn

from bam_mm import InputError
from bam_mm.models.activation_checkpointing import checkpoint_blocks
from tests.models import small_caformer
from tests.models.test_bam import build, views

VIT = dict(
    type="MoCoV3ViT",
    arch=dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=32),
    img_size=16,
    patch_size=4,
    stop_grad_conv1=True,
)
RESNET = dict(type="ResNet_CIFAR", depth=18, stem_channels=4, base_channels=4)
BACKBONES = {
    "vit": (VIT, 16, 3),
    "resnet": (RESNET, 32, 8),
    "timm": (small_caformer.SMALL, small_caformer.WIDTH, small_caformer.BLOCKS),
}


def model_of(name, **kw):
    backbone, width, _ = BACKBONES[name]
    neck = dict(type="bam_mm.BAMProjector", in_channels=width, hid_channels=24, out_channels=12)
    return build(backbone={**backbone, **kw.pop("change", {})}, neck=neck, **kw)


def step(model, seed=3):
    torch.manual_seed(seed)
    inputs = [torch.nn.functional.interpolate(v, scale_factor=2) for v in views()]
    loss = model.loss(inputs)["loss"]
    loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, torch.rand(1)


@pytest.mark.parametrize(
    "name,change",
    [
        ("vit", {}),
        ("vit", dict(drop_path_rate=0.5)),
        ("resnet", {}),
        ("timm", {}),
        ("timm", dict(drop_path_rate=0.5)),
    ],
)
def test_loss_gradients_statistics_and_random_state_are_equal(name, change):
    plain = model_of(name, change=change)
    saving = model_of(name, change=change, activation_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    assert list(saving.state_dict()) == list(plain.state_dict())
    (loss, gradients, after), (again, repeated, after_again) = step(plain), step(saving)
    assert loss == again and torch.equal(after, after_again)
    assert set(gradients) == set(repeated)
    for key, gradient in gradients.items():
        torch.testing.assert_close(repeated[key], gradient, atol=0, rtol=0, msg=key)
    # BatchNorm must count one batch per resolution, not two.
    for (key, value), other in zip(
        plain.named_buffers(), dict(saving.named_buffers()).values(), strict=True
    ):
        assert torch.equal(value, other), key


def test_stochastic_depth_is_random_here():
    # Otherwise the test above would not check the random state.
    model = model_of("vit", change=dict(drop_path_rate=0.5))
    assert step(model, seed=3)[0] != step(model, seed=4)[0]


@pytest.mark.parametrize("name", BACKBONES)
def test_blocks_run_twice_in_training_and_once_without_gradients(name):
    model = model_of(name, activation_checkpointing=True)
    count = BACKBONES[name][2]
    norms = [m for m in model.backbone.modules() if isinstance(m, (nn.LayerNorm, nn.BatchNorm2d))]
    calls = []
    # A norm inside the last block runs in the forward pass and again in the backward pass.
    inside = {
        "vit": lambda b: b.layers[-1].ln1,
        "resnet": lambda b: b.layer4[-1].bn1,
        "timm": lambda b: b.timm_model.stages[-1].blocks[-1].norm1,
    }[name](model.backbone)
    assert inside in norms
    inside.register_forward_hook(lambda *a: calls.append(torch.is_grad_enabled()))
    step(model)
    assert len(calls) == 4  # 2 resolutions, twice each
    with torch.no_grad():
        model.backbone(torch.randn(2, 3, 32, 32))
    assert calls == [True] * 4 + [False]
    assert checkpoint_blocks(model_of(name).backbone) == count


def test_a_copy_runs_its_own_blocks():
    model = model_of("vit", activation_checkpointing=True)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.backbone.layers.parameters():
            parameter.zero_()
    assert step(other)[0] != step(model)[0]


def test_only_the_student_is_checkpointed():
    model = model_of("vit", activation_checkpointing=True)
    assert all("forward" in vars(block) for block in model.backbone.layers)
    assert not any("forward" in vars(block) for block in model.teacher.backbone.layers)


def test_a_backbone_without_known_blocks_is_refused():
    with pytest.raises(InputError, match="blocks of LeNet5 are not known"):
        neck = dict(type="bam_mm.BAMProjector", in_channels=84, hid_channels=8, out_channels=8)
        build(backbone=dict(type="LeNet5"), neck=neck, activation_checkpointing=True)
