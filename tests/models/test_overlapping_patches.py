"""Overlapping patches."""

import pytest
import torch
import torch.nn.functional as F

from bam_mm import InputError, LabelPropagation
from bam_mm.models.overlapping_patches import lay_patches_closer
from bam_mm.models.patch_features import build_map_backbone, feature_map
from tests.models.davis_stubs import TOY_VIT


def vit(stride=None, seed=0):
    torch.manual_seed(seed)
    backbone = build_map_backbone(TOY_VIT)
    backbone.init_weights()
    if stride is not None:
        lay_patches_closer(backbone, stride)
    backbone.eval()  # mmpretrain's eval() returns None.
    return backbone


@torch.no_grad()
def test_a_stride_of_the_patch_size_changes_nothing():
    images = torch.randn(2, 3, 40, 56)
    assert torch.equal(feature_map(vit(8), images), feature_map(vit(), images))


@pytest.mark.parametrize("stride", [4, 2])
@torch.no_grad()
def test_a_shift_by_the_stride_shifts_the_features(stride):
    # Only the image depends on the position: an object on a flat background, and no position
    # embedding.
    backbone = vit(stride)
    backbone.pos_embed.zero_()
    pattern = torch.randn(3, 12, 12)
    images = torch.full((2, 3, 48, 64), 0.3)
    images[0, :, 16:28, 20:32] = pattern
    images[1, :, 16 + stride : 28 + stride, 20 - stride : 32 - stride] = pattern
    features, shifted = feature_map(backbone, images)
    assert features.shape == (32, 48 // stride, 64 // stride)
    # float32 sums in another order differ by up to 1.2e-5 on another processor.
    torch.testing.assert_close(shifted, features.roll((1, -1), (1, 2)), atol=1e-4, rtol=0)
    assert (shifted - features).abs().max() > 0.1


@torch.no_grad()
def test_each_patch_is_the_one_centred_on_its_cell():
    backbone, plain = vit(4), vit()
    images = torch.randn(1, 3, 24, 32)
    tokens, grid = backbone.patch_embed(images)
    assert grid == (6, 8)
    around = F.pad(images, (2, 2, 2, 2), mode="replicate")
    for row, column in ((0, 0), (2, 3), (5, 7)):
        patch = around[:, :, 4 * row : 4 * row + 8, 4 * column : 4 * column + 8]
        alone, _ = plain.patch_embed(patch)
        torch.testing.assert_close(tokens[:, row * 8 + column], alone[:, 0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_places_keep_their_position_embedding():
    # A ramp over the image stays the same: 6 x 6 positions 8 pixels apart, sampled every 4 pixels.
    backbone = vit(4)
    ramp = torch.arange(6.0) * 8 + 4
    backbone.pos_embed.zero_()
    backbone.pos_embed[0, 1:, 0] = ramp.repeat(6)
    seen = []
    backbone.drop_after_pos.register_forward_hook(lambda m, inputs, out: seen.append(out))
    feature_map(backbone, torch.zeros(1, 3, 48, 48))
    flat = backbone.patch_embed.projection.bias[0]
    columns = (seen[0][0, 1:, 0] - flat).view(12, 12)
    wanted = torch.arange(12.0) * 4 + 2
    # torch's bicubic kernel bends a straight line by up to .4 here; one patch off would be 4.
    torch.testing.assert_close(columns[:, 3:9], wanted[3:9].expand(12, 6), atol=0.5, rtol=0)


def test_wrong_strides_and_backbones():
    for stride in (3, 0, 12):
        with pytest.raises(InputError, match=f"model.stride={stride} with patches of 8.*2, 4, 8"):
            LabelPropagation(TOY_VIT, stride=stride)
    with pytest.raises(InputError, match="ResNet has no patch embedding"):
        LabelPropagation(dict(type="mmpretrain.ResNet", depth=18), stride=4)
