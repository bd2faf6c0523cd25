"""Backbones whose pretraining hides patches give features of whole images."""

import pytest
import torch
from mmpretrain.models import BEiTPretrainViT, BEiTViT, MAEViT, VisionTransformer

from bam_mm.models import FrozenFeatures
from bam_mm.models.adapters import adapter_of
from bam_mm.models.encoders import branches_of
from bam_mm.models.saliency import attention_maps
from bam_mm.models.siamese import features_of
from bam_mm.models.whole_images import forward_whole, hides_patches

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
SMALL = dict(arch=ARCH, img_size=16, patch_size=4)


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(3, 3, 16, 16)


def built(kind, **settings):
    torch.manual_seed(0)
    backbone = kind(**SMALL, **settings)
    for value in backbone.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.randn_like(value) / 4)
    backbone.eval()  # mmpretrain's returns None.
    return backbone


@torch.no_grad()
def test_mae_is_scored_by_cls_of_the_whole_image(images):
    mae = built(MAEViT)
    plain = built(VisionTransformer, out_type="cls_token")
    plain.load_state_dict(mae.state_dict())
    state = torch.get_rng_state()
    found = features_of(mae, images)
    assert torch.equal(state, torch.get_rng_state())
    assert found.shape == (3, 16) and torch.equal(found, plain(images)[-1])
    # Called with images alone, three quarters of the patches are hidden.
    assert mae(images)[0].shape == (3, 1 + 4, 16)


@torch.no_grad()
def test_beit_is_scored_by_the_mean_of_the_patches(images):
    beit = built(BEiTPretrainViT)
    found = features_of(beit, images)
    tokens = beit(images, torch.zeros(3, 4, 4))[-1]  # A mask that hides nothing
    assert tokens.shape == (3, 17, 16) and not torch.allclose(found, tokens[:, 0])
    assert torch.allclose(found, tokens[:, 1:].mean(dim=1), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("kind", [MAEViT, BEiTPretrainViT])
def test_adapter_and_frozen_features_see_whole_images(kind, images):
    backbone = built(kind)
    adapter = adapter_of(backbone)
    [tokens] = adapter.tokens(images)
    assert tokens.shape == (3, 17, 16) and torch.equal(tokens, forward_whole(backbone, images)[-1])
    assert adapter.trains_cls == (kind is MAEViT)
    feature = "cls" if kind is MAEViT else "mean"
    frozen = FrozenFeatures(dict(type=f"mmpretrain.{kind.__name__}", **SMALL), feature)
    frozen.backbone.load_state_dict(backbone.state_dict())
    assert torch.allclose(features_of(frozen, images), features_of(backbone, images), atol=1e-5)


@torch.no_grad()
def test_attention_of_mae_is_to_all_patches(images):
    maps = attention_maps(built(MAEViT), images)
    assert maps.shape == (3, 2, 4, 4) and (maps > 0).all()


def test_other_backbones_are_called_with_images_alone(images):
    assert not hides_patches(VisionTransformer) and not hides_patches(BEiTViT)

    class Own(torch.nn.Module):
        def forward(self, x, mask="none"):
            return (x.flatten(1) if mask == "none" else None,)

    assert torch.equal(features_of(Own(), images), images.flatten(1))
    raw = built(VisionTransformer, out_type="raw")
    assert torch.equal(features_of(raw, images), raw(images)[-1][:, 0])


def test_the_only_branch_is_the_student():
    model = torch.nn.Module()
    model.backbone = built(MAEViT)
    assert branches_of(model) == {"student": model.backbone}
