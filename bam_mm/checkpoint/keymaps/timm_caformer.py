"""timm's ``MetaFormer`` (CAFormer, ConvFormer, PoolFormer v2): mmpretrain takes it from timm."""

from bam_mm.checkpoint.keymaps.names import KeyMap

_BLOCK = (
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

_SAME = (
    "stem.conv.",
    "stem.norm.",
    "stages.*.downsample.norm.",
    "stages.*.downsample.conv.",
    *(f"stages.*.blocks.*.{name}" for name in _BLOCK),
    "head.norm.",
)

TIMM_CAFORMER = KeyMap(
    family="MetaFormer",
    timm_mark=r"stages\.\d+\.blocks\.\d+\.(token_mixer|res_scale)",
    rules=tuple((name, name) for name in _SAME),
    native=False,
)
