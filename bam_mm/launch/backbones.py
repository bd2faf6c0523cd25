"""Building backbones that are named on the command line."""

from __future__ import annotations

from torch import nn

from bam_mm.checkpoint import parse_backbone
from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules, load_config
from bam_mm.registry import MODELS


def backbone_to_prove(name: str) -> nn.Module:
    """Build the backbone that a converted checkpoint must fit, with random weights.

    Args:
        name: ``timm:NAME``, a name in mmpretrain's model index, or a config file.

    Returns:
        The named backbone, or ``model.backbone`` of the config.

    Raises:
        InputError: If the name is unknown, or the config has no ``model.backbone``.
    """
    if not name.endswith(".py"):
        return MODELS.build(parse_backbone(f"random:{name}").config)
    config = load_config(name)
    backbone = config.get("model", {}).get("backbone")
    if backbone is None:
        raise InputError(f"--model {name}: the config has no model.backbone; pass another one")
    import_custom_modules(config)
    backbone = dict(backbone)
    if isinstance(backbone["type"], str) and "." not in backbone["type"]:
        backbone["type"] = f"{config.get('default_scope', 'mmpretrain')}.{backbone['type']}"
    return MODELS.build(backbone)
