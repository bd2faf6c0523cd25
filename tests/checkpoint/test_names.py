"""The tables of names: translations by hand, and in both directions."""

import pytest

from bam_mm.checkpoint.architectures import KEYMAPS, recognise
from bam_mm.checkpoint.layouts import layout_of
from bam_mm.checkpoint.names import Names
from tests.checkpoint import layouts

BY_HAND = {
    "ViT": {
        "cls_token": "cls_token",
        "pos_embed": "pos_embed",
        "patch_embed.proj.weight": "patch_embed.projection.weight",
        "blocks.0.norm1.weight": "layers.0.ln1.weight",
        "blocks.10.attn.qkv.bias": "layers.10.attn.qkv.bias",
        "blocks.3.attn.proj.weight": "layers.3.attn.proj.weight",
        "blocks.3.norm2.bias": "layers.3.ln2.bias",
        "blocks.3.mlp.fc1.weight": "layers.3.ffn.layers.0.0.weight",
        "blocks.3.mlp.fc2.bias": "layers.3.ffn.layers.1.bias",
        "blocks.3.ls1.gamma": "layers.3.attn.gamma1.weight",
        "norm.weight": "ln1.weight",
        "fc_norm.bias": "ln2.bias",
        "head.weight": None,
        "blocks.x.norm1.weight": None,
        "decoder_blocks.0.norm1.weight": None,
        "blocks.0.norm1.weight.more": None,
    },
    "BEiT": {
        "blocks.2.attn.q_bias": "layers.2.attn.q_bias",
        "blocks.2.gamma_2": "layers.2.gamma_2",
        "blocks.2.attn.relative_position_bias_table": "layers.2.attn.relative_position_bias_table",
        "rel_pos_bias.relative_position_bias_table": "rel_pos_bias.relative_position_bias_table",
        "lm_head.weight": None,
    },
    "ResNet": {
        "layer3.5.downsample.1.running_var": "layer3.5.downsample.1.running_var",
        "bn1.num_batches_tracked": "bn1.num_batches_tracked",
        "fc.weight": None,
    },
    "MetaFormer": {
        "stages.2.blocks.17.token_mixer.qkv.weight": "stages.2.blocks.17.token_mixer.qkv.weight",
        "head.norm.bias": "head.norm.bias",
        "head.fc.fc1.weight": None,
    },
}


@pytest.mark.parametrize("keymap", KEYMAPS, ids=lambda keymap: keymap.family)
def test_names_by_hand_in_both_directions(keymap):
    for timm, mmpretrain in BY_HAND[keymap.family].items():
        assert keymap.to_mmpretrain(timm) == mmpretrain
        if mmpretrain is not None:
            assert keymap.to_timm(mmpretrain) == timm


@pytest.mark.parametrize(
    ("one", "other", "family"),
    [("timm_vit", "mm_vit", "ViT"), ("timm_beit", "mm_beit", "BEiT")],
)
def test_tables_cover_complete_models(one, other, family):
    timms, mms = (list(getattr(layouts, name)(1).state_dict()) for name in (one, other))
    theirs, ours = recognise(timms), recognise(mms)
    assert str(theirs) == f"{family}, timm's names" and str(ours) == f"{family}, mmpretrain's names"
    translated = [ours.from_timm(theirs.to_timm(key)) for key in timms]
    assert len(set(translated)) == len(timms)
    index = {key for key in mms if key.endswith("relative_position_index")}
    assert set(mms) - set(translated) == index
    assert [theirs.from_timm(ours.to_timm(key)) for key in translated] == timms


def test_wrapped_names():
    names = recognise(["timm_model.blocks.0.norm1.weight", "timm_model.norm.bias"])
    assert names == Names(names.keymap, "timm", wrapped=True) and names.keymap.family == "ViT"
    assert names.to_timm("timm_model.norm.bias") == "norm.bias"
    assert names.from_timm("norm.bias") == "timm_model.norm.bias"
    assert names.to_timm("norm.bias") is None and names.from_timm("head.bias") is None
    assert recognise(["features.0.weight"]).keymap is None


@pytest.mark.parametrize(
    ("key", "layout"),
    [
        ("teacher.head.mlp.0.weight", "DINO"),
        ("student.proj_head.0.weight", "BAM (released code)"),
        ("teacher.neck.fc.weight", "BAM"),
        ("student.blocks.0.norm1.bias", "a student and a teacher"),
        ("momentum_encoder.cls_token", "MoCo v3"),
        ("decoder_embed.weight", "MAE"),
        ("blocks.0.attn.q_bias", "BEiT"),
        ("blocks.0.attn.qkv.bias", "one model"),
        ("layers.0.ln1.weight", "one model"),
    ],
)
def test_layout_is_recognised_by_its_keys(key, layout):
    assert layout_of([key, "cls_token"]).name == layout
