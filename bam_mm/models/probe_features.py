"""What a linear probe sees of a frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.patch_features import is_timm
from bam_mm.registry import MODELS

FEATURES = ("cls", "cls+mean", "mean")


def build_token_backbone(config: Mapping, blocks: int) -> nn.Module:
    """Build a backbone so that it gives what a probe needs.

    A transformer of mmpretrain is asked for all tokens (``out_type='raw'``) of its last ``blocks``
    blocks, whatever the config says; others are built as they are.
    """
    config = dict(config)
    kind = config["type"]
    if isinstance(kind, str):
        # A bare name is looked up in the scope of the config, as building does.
        with MODELS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    if "raw" in getattr(kind, "OUT_TYPES", ()):
        config.update(out_type="raw", out_indices=list(range(-blocks, 0)))
    return MODELS.build(config)


def block_outputs(backbone: nn.Module, images: Tensor, blocks: int) -> list[Tensor]:
    """Outputs of a backbone's last blocks, all of them after the final norm.

    Args:
        backbone: As :func:`build_token_backbone` gives it.
        images: (N, 3, H, W), normalised.
        blocks: How many of a transformer's blocks, as many as it was built for.

    Returns:
        Tokens (N, L, C) of the last blocks, the last one last; or the last map (N, C, h, w).
    """
    if is_timm(type(backbone)) and getattr(backbone.timm_model, "num_prefix_tokens", 0):
        outputs = backbone.timm_model.forward_intermediates(
            images,
            indices=blocks,
            norm=True,
            output_fmt="NLC",
            return_prefix_tokens=True,
            intermediates_only=True,
        )
        return [torch.cat([prefix, patches], dim=1) for patches, prefix in outputs]
    outputs = backbone(images)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    if getattr(backbone, "final_norm", False):
        # mmpretrain normalises the last block only; DINO's protocol normalises each.
        outputs[:-1] = [backbone.norm1(output) for output in outputs[:-1]]
    return outputs


def probe_feature(outputs: Sequence[Tensor], feature: str, *, prefix: int = 1) -> Tensor:
    """One vector an image.

    Args:
        outputs: Tokens (N, L, C) of the last blocks after the norm, or one map (N, C, h, w).
        feature: ``cls``: [CLS] of every block given, concatenated; ``cls+mean``: these, and the
            mean patch of the last block (BAM's ViT-B, DINO's ViT-B); ``mean``: the mean patch, or
            the mean over the map.
        prefix: Tokens in front of the patches; [CLS] is the first.

    Returns:
        (N, D) with D = C times the number of parts.

    Raises:
        InputError: If a [CLS] token is asked of a map or of tokens without one.
    """
    last = outputs[-1]
    if feature not in FEATURES:
        raise InputError(f"model.feature={feature!r}: choose one of {', '.join(FEATURES)}")
    if last.ndim == 4:
        last, prefix = last.flatten(2).transpose(1, 2), 0
    if feature != "mean" and (not prefix or last.ndim != 3):
        raise InputError(
            f"model.feature={feature!r}: this backbone gives {tuple(outputs[-1].shape)} and no "
            "[CLS] token; set model.feature=mean"
        )
    if last.ndim == 2:
        return last
    parts = [] if feature == "mean" else [tokens[:, 0] for tokens in outputs]
    if feature != "cls":
        parts.append(last[:, prefix:].mean(dim=1))
    return torch.cat(parts, dim=1)


def prefix_tokens(backbone: nn.Module) -> int:
    """Number of tokens in front of a backbone's patches."""
    if is_timm(type(backbone)):
        return getattr(backbone.timm_model, "num_prefix_tokens", 0)
    return getattr(backbone, "num_extra_tokens", 0)
