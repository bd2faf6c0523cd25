"""Parameters that a detector or segmentor adds to a backbone for its outputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any, cast

from torch import nn

_NORM = re.compile(r"norm(\d+)")


def missing_additions(backbone: nn.Module, found: Collection[str]) -> list[str]:
    """Return the tensors that a backbone has for its outputs alone and a file lacks.

    Args:
        backbone: The backbone.
        found: Names of the tensors of the file, as in the backbone. If it has a part of a module,
            the other part is not an addition.
    """
    added = added_parameters(backbone)
    partial = {_owner(name) for name in added if name in found}
    return [name for name in backbone.state_dict() if name in added and _owner(name) not in partial]


def added_parameters(backbone: nn.Module) -> set[str]:
    """Return the names of the tensors that a backbone has for its outputs alone.

    No pretraining has them, so they may be missing in a checkpoint. A backbone states them itself
    in an attribute ``added_parameters``, a collection of names. Without this attribute, they are
    those of the norms that Swin, ConvNeXt and the like have for every output of mmlab: ``norm0`` to
    ``norm2`` with ``out_indices=(0, 1, 2, 3)``, because a classifier has the last one alone. In
    mmpretrain's ``BEiTViT``, it is the norm after the average if there is another one before it.

    Args:
        backbone: The backbone.

    Returns:
        Names of its tensors, as in its ``state_dict``.
    """
    stated = getattr(backbone, "added_parameters", None)
    if stated is not None:
        return set(stated() if callable(stated) else stated)
    if type(backbone).__name__ == "BEiTViT" and cast(Any, backbone).final_norm:
        # A pretraining has the norm before the average, a classifier the one after it.
        return {name for name in backbone.state_dict() if name.startswith("ln2.")}
    indices = getattr(backbone, "out_indices", None)
    norms = {int(m[1]): name for name, _ in backbone.named_children() if (m := _NORM.match(name))}
    # In other backbones, such as VAN, the norms of the stages are a part of the network.
    if not isinstance(indices, Sequence) or set(norms) != set(indices) or len(norms) < 2:
        return set()
    del norms[max(norms)]
    prefixes = tuple(f"{name}." for name in norms.values())
    return {name for name in backbone.state_dict() if name.startswith(prefixes)}


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
