"""Maps of timm's backbones: stages of a pyramid and blocks of a transformer."""

import pytest
import timm
import torch
from mmengine.registry import init_default_scope

from bam_mm import InputError
from bam_mm.checkpoint import load_backbone
from bam_mm.registry import MODELS
from tests.models.small_caformer import SMALL

VIT = dict(
    type="bam_mm.DenseTIMM",
    model_name="vit_tiny_patch16_224",
    img_size=32,
    patch_size=8,
    embed_dim=24,
    depth=3,
    num_heads=3,
    dynamic_img_size=True,
    stages=[0, 2],
)


def build(config):
    init_default_scope("mmseg")
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.eval()  # mmpretrain's eval() returns None.
    return model


def test_the_last_stage_equals_the_output_of_the_plain_caformer(tmp_path):
    plain = build(dict(SMALL))
    torch.save(
        {"state_dict": {f"backbone.{k}": v for k, v in plain.state_dict().items()}},
        tmp_path / "c.pth",
    )
    dense = build({**SMALL, "type": "bam_mm.DenseCAFormer", "norm": "last"})
    load_backbone(dense, tmp_path / "c.pth")
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, wanted = dense(images), plain(images)[-1]
    assert [x.shape[2:] for x in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    if wanted.ndim == 4:
        assert torch.allclose(maps[-1], wanted, atol=1e-6)
    else:
        assert torch.allclose(maps[-1].mean((2, 3)), wanted, atol=1e-5)


def test_a_transformers_blocks_with_and_without_the_norm():
    images = torch.randn(1, 3, 40, 48)
    raw, normed = build(VIT), build({**VIT, "norm": "all"})
    normed.load_state_dict(raw.state_dict())
    model = raw.timm_model
    with torch.no_grad():
        x = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        blocks = []
        for block in model.blocks:
            x = block(x)
            blocks.append(x)
        for dense, with_norm in ((raw, False), (normed, True)):
            for found, index in zip(dense(images), (0, 2), strict=True):
                tokens = model.norm(blocks[index]) if with_norm else blocks[index]
                wanted = tokens[:, 1:].transpose(1, 2).reshape(1, 24, 5, 6)
                assert torch.allclose(found, wanted, atol=1e-6)


def test_a_group_norm_at_the_end_takes_its_map_with_the_channels_first():
    small = dict(model_name="resnetv2_50d_gn", layers=(1, 1, 1, 1), channels=(128,) * 4)
    dense = build(dict(small, type="bam_mm.DenseTIMM", stem_chs=64, norm="added"))
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = dense(images)
        assert torch.allclose(maps[-1], dense.timm_model.forward_features(images), atol=1e-6)
        assert maps[0].mean(dim=1).abs().max() < 1e-4
    assert len(dense.output_norms) == 3 and dense.widths == [128] * 4


def test_an_unused_norm_is_frozen():
    model = build(VIT)
    assert not model.timm_model.norm.weight.requires_grad
    assert build({**VIT, "norm": "last"}).timm_model.norm.weight.requires_grad


@pytest.mark.parametrize(
    "wrong, message",
    [
        (dict(stages=[0, 3]), r"backbone\.stages=\[0, 3\]: choose numbers from 0 to 2"),
        (dict(norm="first"), r"backbone\.norm='first'"),
    ],
)
def test_wrong_arguments(wrong, message):
    with pytest.raises(InputError, match=message):
        build({**VIT, **wrong})


def test_the_norm_of_a_pyramid_only_fits_its_last_stage():
    with pytest.raises(InputError, match=r"norm='all': the final norm of MetaFormer"):
        build({**SMALL, "type": "bam_mm.DenseCAFormer", "norm": "all"})


def test_the_full_caformer_m36():
    model = build(dict(type="bam_mm.DenseCAFormer"))
    assert [info["num_chs"] for info in model.timm_model.feature_info] == [96, 192, 384, 576]
    assert isinstance(model.timm_model, timm.models.metaformer.MetaFormer)
