"""Heat maps: attention of the class token against a slow reference, and boxes of known objects."""

import numpy as np
import pytest
import timm
import torch
from mmpretrain.models import MoCoV3ViT, ResNet, ResNet_CIFAR, TIMMBackbone, VisionTransformer
from torch import nn

from bam_mm import InputError
from bam_mm.data.contrastive_crop import boxes_from_heat_maps, extract_boxes
from bam_mm.models.saliency import class_attention, saliency
from bam_mm.registry import MODELS
from tests.reference.slow_saliency import (
    slow_class_attention,
    tokens_of_mmpretrain,
    tokens_of_timm,
)

ARCH = dict(embed_dims=12, num_layers=3, num_heads=3, feedforward_channels=24)
TIMM = dict(embed_dim=12, depth=3, num_heads=3, dynamic_img_size=True)
SIZE, PATCH = 64, 8


def random_weights(model, seed=0):
    """Set weights so large that attention is far from uniform, and the evaluation mode."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn_like(p))
    model.eval()  # mmpretrain's eval() returns None.
    return model.double()


def mmpretrain_vit(**kw):
    return random_weights(
        VisionTransformer(
            arch=ARCH, img_size=(16, 24), patch_size=8, layer_scale_init_value=0.1, **kw
        )
    )


def timm_vit(**kw):
    return random_weights(
        TIMMBackbone("vit_tiny_patch16_224", patch_size=8, img_size=(16, 24), **{**TIMM, **kw})
    )


def images(*size, count=2):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("out_type", ["cls_token", "featmap"])
def test_attention_equals_the_slow_reference_for_mmpretrain(out_type):
    vit = mmpretrain_vit(out_type=out_type)
    x = images(16, 24)
    found = saliency(vit, x)
    assert found.shape == (2, 2, 3) and found.dtype == torch.float64
    for image, heat in zip(x, found, strict=True):
        tokens, grid = tokens_of_mmpretrain(vit, image)
        qkv = vit.layers[-1].attn.qkv
        wanted = slow_class_attention(tokens, qkv.weight.detach(), qkv.bias.detach(), 3)
        assert grid == (2, 3)
        np.testing.assert_allclose(heat.flatten(), wanted[1:], atol=1e-12, rtol=0)
        # Uniform attention would make the comparison trivial; the row of each head sums to one.
        assert heat.max() > 3 * heat.min() and sum(wanted) == pytest.approx(3, abs=1e-12)


@pytest.mark.parametrize("registers", [0, 2])
def test_attention_equals_the_slow_reference_for_timm(registers):
    backbone = timm_vit(reg_tokens=registers)
    vit, x = backbone.timm_model, images(16, 24)
    found = saliency(backbone, x)
    for image, heat in zip(x, found, strict=True):
        tokens = tokens_of_timm(vit, image)
        qkv = vit.blocks[-1].attn.qkv
        wanted = slow_class_attention(tokens, qkv.weight.detach(), qkv.bias.detach(), 3)
        assert len(wanted) == 1 + registers + 6
        np.testing.assert_allclose(heat.flatten(), wanted[1 + registers :], atol=1e-12, rtol=0)
        assert heat.max() > 1.5 * heat.min()


def test_it_is_the_attention_that_the_block_uses():
    # The class token after timm's attention equals our row of attention times the values.
    attention = random_weights(timm.layers.Attention(12, num_heads=3, qkv_bias=True, qk_norm=True,
                                                     norm_layer=nn.LayerNorm))  # fmt: skip
    attention.proj = nn.Identity()
    tokens = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(0)).double()
    values = attention.qkv(tokens).unflatten(-1, (3, 3, 4))[:, :, 2]
    row = torch.einsum("nhl,nlhd->nhd", class_attention(attention, tokens), values).flatten(1)
    torch.testing.assert_close(attention(tokens)[:, 0], row, atol=1e-12, rtol=0)


def test_another_size_and_low_precision():
    for backbone in (mmpretrain_vit(), timm_vit()):
        assert saliency(backbone, images(32, 16)).shape == (2, 4, 2)
        low = saliency(backbone.bfloat16(), images(16, 24).bfloat16())
        assert low.dtype == torch.float32 and low.isfinite().all()


def test_only_the_class_token_s_attention_is_computed_and_no_hook_remains():
    vit = mmpretrain_vit()
    saliency(vit, images(16, 24))
    with pytest.raises(RuntimeError):
        saliency(vit, torch.zeros(1, 5, 16, 24).double())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in vit.modules())
    tokens = torch.randn(2, 50, 12).double()
    assert class_attention(vit.layers[-1].attn, tokens).shape == (2, 3, 50)


MAPS = {
    "resnet": (lambda: ResNet(depth=18), lambda m, x: m(x)[-1], False),
    "resnet for CIFAR": (
        lambda: ResNet_CIFAR(depth=18, stem_channels=8, base_channels=8),
        lambda m, x: m(x)[-1],
        False,
    ),
    "timm resnet": (
        lambda: TIMMBackbone("resnet10t"),
        lambda m, x: m.timm_model.forward_features(x),
        False,
    ),
    "caformer": (
        lambda: TIMMBackbone("caformer_s18"),
        lambda m, x: m.timm_model.forward_features(x),
        True,
    ),
    "efficientnet": (
        lambda: TIMMBackbone("tf_efficientnet_lite0"),
        lambda m, x: m.timm_model.blocks(m.timm_model.bn1(m.timm_model.conv_stem(x))),
        True,
    ),
}


@pytest.mark.parametrize("name", MAPS)
def test_maps_are_summed_after_a_relu_and_otherwise_their_norm_is_taken(name):
    build, last, signed = MAPS[name]
    torch.manual_seed(0)
    backbone = build()
    backbone.eval()
    x = images(64, 96).float()
    with torch.no_grad():
        maps = last(backbone, x)
    assert maps.ndim == 4 and maps.shape[1] > maps.shape[2] and bool((maps < 0).any()) == signed
    wanted = maps.square().sum(dim=1).sqrt() if signed else maps.sum(dim=1)
    torch.testing.assert_close(saliency(backbone, x), wanted)


NORMED = {
    # Module in front of the norm, and how its output becomes a map (N, C, h, w).
    "ConvNeXt": (
        dict(arch=dict(depths=[1] * 4, channels=[8, 16, 24, 32])),
        "stages.3",
        lambda x: x,
    ),
    "SwinTransformer": (
        dict(arch=dict(embed_dims=8, depths=[1] * 4, num_heads=[1] * 4), pad_small_map=True),
        "stages.3",
        lambda x: x[0].transpose(1, 2).unflatten(2, (2, 3)),
    ),
    # Its other norms stand between the stages.
    "VAN": (
        dict(arch=dict(embed_dims=[8, 16, 24, 32], depths=[1] * 4, ffn_ratios=[2] * 4)),
        "blocks4.0",
        lambda x: x,
    ),
}


@pytest.mark.parametrize("name", NORMED)
def test_maps_are_taken_before_the_output_norm_of_mmpretrain(name):
    settings, last, as_map = NORMED[name]
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type=f"mmpretrain.{name}", **settings))
    backbone.eval()
    x, kept = images(64, 96).float(), []
    handle = backbone.get_submodule(last).register_forward_hook(lambda *a: kept.append(a[2]))
    with torch.no_grad():
        before = backbone(x)[-1]
    handle.remove()
    heat = saliency(backbone, x)
    torch.testing.assert_close(heat, torch.linalg.vector_norm(as_map(kept[0]), dim=1))
    # After the norm, all places would be alike.
    assert heat.shape == (2, 2, 3) and (heat.amax((1, 2)) > 1.001 * heat.amin((1, 2))).all()
    assert not any(m._forward_hooks for m in backbone.modules())
    assert torch.equal(backbone(x)[-1], before)


class Opposed(nn.Module):
    """Two channels of opposite sign, whose sum over channels is zero everywhere."""

    def forward(self, x):
        mean = x.mean(dim=1, keepdim=True)
        return (torch.cat([mean, -mean], dim=1),)


def test_channels_that_cancel_still_show_the_object():
    pictures, boxes = objects(count=4)
    assert_within_one_patch(Opposed(), pictures, boxes, patch=1)
    # An image's map does not depend on the other images of the batch.
    together = saliency(Opposed(), pictures)
    torch.testing.assert_close(together[1:2], saliency(Opposed(), pictures[1:2]), rtol=0, atol=0)


# Objects: one bright rectangle on black, not aligned with the patches.


def objects(count=30, size=SIZE, smallest=12, seed=0):
    rng = np.random.default_rng(seed)
    pictures, boxes = torch.zeros(count, 3, size, size), []
    for picture in pictures:
        height, width = rng.integers(smallest, size // 2, 2)
        top, left = rng.integers(0, size - height), rng.integers(0, size - width)
        picture[:, top : top + height, left : left + width] = 1.0
        boxes.append([top, left, top + height, left + width])
    return pictures, torch.tensor(boxes) / size


def assert_within_one_patch(backbone, pictures, boxes, patch):
    found = boxes_from_heat_maps(saliency(backbone, pictures).float(), pictures.shape[-2:])
    worst = (found - boxes).abs().max() * pictures.shape[-1]
    assert worst <= patch, worst
    # Boxes of the whole image would pass too easily.
    assert (torch.tensor([0.0, 0, 1, 1]) - boxes).abs().max() * pictures.shape[-1] > 2 * patch


class Intensity(nn.Module):
    """Network whose map is the mean intensity of the patches."""

    def forward(self, x):
        return (nn.functional.avg_pool2d(x, PATCH),)


def test_box_of_an_intensity_map():
    assert_within_one_patch(Intensity(), *objects(), PATCH)


def test_box_of_a_resnet_that_preserves_intensity():
    resnet = ResNet(depth=18)
    resnet.eval()
    with torch.no_grad():
        for module in resnet.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.dirac_(module.weight)
        # Each stride keeps the first of two positions; the last one takes the middle of the patch.
        first = resnet.layer4[0].conv1.weight
        first.copy_(first.roll((1, 1), (2, 3)))
        resnet.layer4[0].downsample[0].weight.zero_()
    assert_within_one_patch(resnet, *objects(10, size=256, smallest=40), 32)


def attend_to_bright_patches(project, position, token, qkv, heads=2):
    """Set weights with which the class token attends to bright patches.

    The token of a patch is (intensity, 5, -5, 0 ...), which LayerNorm scales nearly independently
    of the intensity. The keys are the intensity, and the query is the same for every image.
    """
    width = token.shape[-1]
    with torch.no_grad():
        for p in (project.weight, project.bias, position, token, qkv.weight, qkv.bias):
            p.zero_()
        project.weight[0] = 1 / project.weight[0].numel()
        project.bias[1:3] = token[..., 1:3] = torch.tensor([5.0, -5.0])
        for head in range(heads):
            first = head * (width // heads)
            qkv.bias[first] = 10.0
            qkv.weight[width + first, 0] = 4.0


def test_box_of_a_vit_that_attends_to_bright_patches():
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    ours = MoCoV3ViT(arch=arch, img_size=SIZE, patch_size=PATCH)
    ours.eval()
    attend_to_bright_patches(
        ours.patch_embed.projection, ours.pos_embed, ours.cls_token, ours.layers[0].attn.qkv
    )
    assert_within_one_patch(ours, *objects(), PATCH)
    small = dict(patch_size=PATCH, img_size=SIZE, embed_dim=16, depth=1, num_heads=2)
    other = TIMMBackbone("vit_tiny_patch16_224", **small)
    other.eval()
    inner = other.timm_model
    attend_to_bright_patches(
        inner.patch_embed.proj, inner.pos_embed, inner.cls_token, inner.blocks[0].attn.qkv
    )
    assert_within_one_patch(other, *objects(), PATCH)


def test_extraction_restores_the_modes():
    backbone = nn.Sequential(nn.Dropout(0.5), nn.Conv2d(3, 2, 4, stride=4), nn.BatchNorm2d(2))
    backbone.train()
    backbone[0].eval()
    pictures = objects(4)[0]
    sample = type("Sample", (), {})

    def batch(first, last):
        samples = [sample() for _ in range(first, last)]
        for index, each in enumerate(samples):
            each.sample_idx = 3 - first - index
        return dict(inputs=pictures[first:last], data_samples=samples)

    statistics = backbone[2].running_mean.clone()
    indices, boxes = extract_boxes(
        backbone, lambda data, training: data, [batch(0, 3), batch(3, 4)], heat_maps=saliency,
        threshold=0.1, description="",
    )  # fmt: skip
    assert [m.training for m in backbone] == [False, True, True]
    assert torch.equal(backbone[2].running_mean, statistics)
    # The rows are in the order of the images' indices, which are reversed here.
    backbone.eval()
    wanted = boxes_from_heat_maps(saliency(backbone, pictures), (SIZE, SIZE))
    assert indices.tolist() == [0, 1, 2, 3] and torch.equal(boxes, wanted.flip(0))


def test_wrong_input():
    with pytest.raises(InputError, match="VisionTransformer without a class token"):
        saliency(mmpretrain_vit(with_cls_token=False, out_type="featmap"), images(16, 24))
    with pytest.raises(InputError, match="without a class token"):
        saliency(timm_vit(class_token=False, global_pool="avg"), images(16, 24))
    with pytest.raises(InputError, match=r"returns .*, but a map"):
        saliency(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double(), images(4, 4))
