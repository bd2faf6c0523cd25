"""Remedies for a checkpoint that does not fit, by what its tensors have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor

_REMEDY = (
    "Set model.backbone to the one that was trained, choose another branch, or rename the keys of "
    "the checkpoint"
)

_LEFT_OVER = (
    (
        r"(^|\.)reg_token$|register_tokens$",
        "The file is of a ViT with register tokens: use a backbone that has them, such as "
        "timm:vit_small_patch14_reg4_dinov2@PATH",
    ),
    (
        r"\.(ls[12]\.gamma|gamma[12]\.weight)$",
        "The file is of a ViT with LayerScale: set layer_scale_init_value=1e-5 in mmpretrain's "
        "VisionTransformer, or use a model of timm that has it, such as "
        "timm:vit_small_patch14_dinov2@PATH",
    ),
    (
        r"lora_[AB]\.",
        "The file holds LoRA weights: merge them into the model first (merge_and_unload of peft)",
    ),
)

_MISSING = (
    (
        r"(^|\.)reg_token$",
        "The backbone has register tokens and the file has none: use a backbone without them",
    ),
    (
        r"\.(ls[12]\.gamma|gamma[12]\.weight)$",
        "The backbone has LayerScale and the file has none: use a backbone without it "
        "(layer_scale_init_value=0)",
    ),
)

_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")


def remedy(
    left_over: Iterable[str], missing: Iterable[str], tensors: Mapping[str, Tensor], path: object
) -> str:
    """Return what to do about a checkpoint that does not fit a backbone.

    Args:
        left_over: Names of tensors that the backbone lacks.
        missing: Names of tensors that the file lacks.
        tensors: Tensors of the file.
        path: Path of the file.

    Returns:
        A sentence without the full stop at its end.
    """
    if _SHARD.search(Path(str(path)).name):
        return "The file is one part of several: pass the *.index.json file beside it"
    if tensors and not any(tensor.numel() for tensor in tensors.values()):
        return (
            "All its tensors are empty, as in a file of DeepSpeed's ZeRO stage 3: join its parts "
            "(python zero_to_fp32.py FOLDER OUT)"
        )
    for names, table in ((list(left_over), _LEFT_OVER), (list(missing), _MISSING)):
        for pattern, text in table:
            if any(re.search(pattern, name) for name in names):
                return text
    return _REMEDY
