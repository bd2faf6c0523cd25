"""Tables that translate tensor names between timm and mmpretrain, one for each architecture."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bam_mm.checkpoint.names import WRAPPER, KeyMap, Names

BEIT_ONLY = r"\d+\.(gamma_[12]|attn\.(q_bias|v_bias|relative_position))"
_TABLE, _INDEX = "attn.relative_position_bias_table", "attn.relative_position_index"

BEIT_VIT = KeyMap(
    family="BEiT",
    timm_mark=rf"blocks\.{BEIT_ONLY}",
    mmpretrain_mark=rf"layers\.{BEIT_ONLY}",
    rules=(
        ("cls_token", "cls_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.proj.", "patch_embed.projection."),
        # In pretraining, all blocks share one bias.
        ("rel_pos_bias.", "rel_pos_bias."),
        ("blocks.*.norm1.", "layers.*.ln1."),
        ("blocks.*.attn.q_bias", "layers.*.attn.q_bias"),
        ("blocks.*.attn.v_bias", "layers.*.attn.v_bias"),
        ("blocks.*.attn.qkv.", "layers.*.attn.qkv."),
        (f"blocks.*.{_TABLE}", f"layers.*.{_TABLE}"),
        (f"blocks.*.{_INDEX}", f"layers.*.{_INDEX}"),
        ("blocks.*.attn.proj.", "layers.*.attn.proj."),
        ("blocks.*.gamma_1", "layers.*.gamma_1"),
        ("blocks.*.norm2.", "layers.*.ln2."),
        ("blocks.*.mlp.fc1.", "layers.*.ffn.layers.0.0."),
        ("blocks.*.mlp.fc2.", "layers.*.ffn.layers.1."),
        ("blocks.*.gamma_2", "layers.*.gamma_2"),
        ("norm.", "ln1."),
        ("fc_norm.", "ln2."),
    ),
)

_METAFORMER_BLOCK = (
    "norm1.",
    "norm2.",
    "token_mixer.pwconv1.",
    "token_mixer.act1.",
    "token_mixer.dwconv.",
    "token_mixer.act2.",
    "token_mixer.pwconv2.",
    "token_mixer.qkv.",
    "token_mixer.proj.",
    "mlp.fc1.",
    "mlp.act.",
    "mlp.fc2.",
    "layer_scale*.",
    "res_scale*.",
)

_METAFORMER = (
    "stem.conv.",
    "stem.norm.",
    "stages.*.downsample.norm.",
    "stages.*.downsample.conv.",
    *(f"stages.*.blocks.*.{name}" for name in _METAFORMER_BLOCK),
    "head.norm.",
)

TIMM_CAFORMER = KeyMap(
    family="MetaFormer",
    timm_mark=r"stages\.\d+\.blocks\.\d+\.(token_mixer|res_scale)",
    rules=tuple((name, name) for name in _METAFORMER),
    native=False,
)

TIMM_VIT = KeyMap(
    family="ViT",
    # EfficientNet and others have blocks, too.
    timm_mark=r"blocks\.\d+\.(norm1|norm2|attn|mlp|ls1|ls2)\.",
    mmpretrain_mark=r"layers\.\d+\.(ln1|ln2|attn|ffn)\.",
    rules=(
        ("cls_token", "cls_token"),
        ("dist_token", "dist_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.proj.", "patch_embed.projection."),
        ("norm_pre.", "pre_norm."),
        ("blocks.*.norm1.", "layers.*.ln1."),
        ("blocks.*.attn.qkv.", "layers.*.attn.qkv."),
        ("blocks.*.attn.proj.", "layers.*.attn.proj."),
        ("blocks.*.ls1.gamma", "layers.*.attn.gamma1.weight"),
        ("blocks.*.norm2.", "layers.*.ln2."),
        ("blocks.*.mlp.fc1.", "layers.*.ffn.layers.0.0."),
        ("blocks.*.mlp.fc2.", "layers.*.ffn.layers.1."),
        ("blocks.*.ls2.gamma", "layers.*.ffn.gamma2.weight"),
        ("norm.", "ln1."),
        ("fc_norm.", "ln2."),
    ),
    timm_only=("reg_token",),
)

_RESNET = (
    "conv1.",
    "bn1.",
    "layer*.*.conv*.",
    "layer*.*.bn*.",
    "layer*.*.downsample.*.",
)

TIMM_RESNET = KeyMap(
    family="ResNet",
    timm_mark=r"layer1\.0\.(conv1|bn1)\.",
    rules=tuple((name, name) for name in _RESNET),
)

KEYMAPS = (BEIT_VIT, TIMM_CAFORMER, TIMM_VIT, TIMM_RESNET)
"""All tables. BEiT precedes ViT, because its blocks have the names of ViT and additional ones."""


def recognise(keys: Iterable[str]) -> Names:
    """Recognise the naming scheme of a backbone from its keys.

    Args:
        keys: Keys without the prefix of the branch. Keys of heads may be among them.

    Returns:
        The naming scheme.
    """
    keys = list(keys)
    wrapped = any(key.startswith(WRAPPER) for key in keys)
    bare = [key.removeprefix(WRAPPER) for key in keys if key.startswith(WRAPPER) or not wrapped]
    for keymap in KEYMAPS:
        for side, mark in (("timm", keymap.timm_mark), ("mmpretrain", keymap.mmpretrain_mark)):
            if mark and any(re.match(mark, key) for key in bare):
                return Names(keymap, side, wrapped)
    return Names(None, "timm" if wrapped else "mmpretrain", wrapped)
