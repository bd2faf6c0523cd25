"""timm's ``ResNet``: torchvision's names, which mmpretrain's ``ResNet`` keeps."""

from bam_mm.checkpoint.keymaps.names import KeyMap

_SAME = (
    "conv1.",
    "bn1.",
    "layer*.*.conv*.",
    "layer*.*.bn*.",
    "layer*.*.downsample.*.",
)

TIMM_RESNET = KeyMap(
    family="ResNet",
    timm_mark=r"layer1\.0\.(conv1|bn1)\.",
    rules=tuple((name, name) for name in _SAME),
)
