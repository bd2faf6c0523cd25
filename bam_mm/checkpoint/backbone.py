"""Loading the backbone of a checkpoint, with proof that all of it arrived."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path

import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.errors import InputError

CONTAINERS = ("state_dict", "model")
"""Under which key of a file the tensors lie, if not at its top."""

PREFIXES = {
    "teacher": ("teacher.backbone.", "backbone.", ""),
    "student": ("backbone.", ""),
}
"""Where a branch's backbone lies, the first that is there."""

COUNTER = "num_batches_tracked"
"""A BatchNorm counter, which older checkpoints lack and evaluation never reads."""


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    Attributes:
        path: The file.
        prefix: Of the tensors taken, ``""`` for bare keys.
        loaded: Number of tensors taken.
        resized: Position embeddings that were resized, as ``name: 14x14 -> 6x6``.
        unused: Keys of the file that belong to something else.
    """

    path: str
    prefix: str
    loaded: int
    resized: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"loaded all {self.loaded} tensors of the backbone from {self.path} "
        text += f"({self.prefix or 'bare keys'}{'*' if self.prefix else ''})"
        if self.resized:
            text += f"; resized bicubically {', '.join(self.resized)}"
        return text + f"; {len(self.unused)} other tensors of the file are not used"


def load_backbone(backbone: nn.Module, path: str | Path, branch: str = "teacher") -> LoadReport:
    """Load a backbone from a checkpoint of BAM, of mmpretrain, or of the backbone alone.

    Args:
        backbone: The backbone; its weights are replaced.
        path: The checkpoint.
        branch: ``teacher`` or ``student``. A file without a teacher gives its only backbone.

    Returns:
        The report, which is logged as well.

    Raises:
        InputError: Unless every tensor of the backbone is in the file with its shape (position
            embeddings are resized), and no tensor of that branch is left over.
    """
    if branch not in PREFIXES:
        raise InputError(f"branch {branch!r}: choose 'teacher' or 'student'")
    state = _tensors(read_checkpoint(path), path)
    prefix, found = _find_branch(state, branch)
    wanted = backbone.state_dict()
    resized = _resize_position_embeddings(backbone, wanted, found)
    _prove(wanted, found, prefix, path)
    backbone.load_state_dict(
        {key: found.get(key, value) for key, value in wanted.items()}, strict=True
    )
    report = LoadReport(
        path=str(path),
        prefix=prefix,
        loaded=sum(key in found for key in wanted),
        resized=resized,
        unused=sorted(key for key in state if key.removeprefix(prefix) not in wanted),
    )
    print_log(str(report), logger="current")
    return report


def _tensors(content: Mapping, path: str | Path) -> dict[str, Tensor]:
    for name in CONTAINERS:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    # DistributedDataParallel puts "module." before every key.
    state = {str(k).removeprefix("module."): v for k, v in content.items() if isinstance(v, Tensor)}
    if not state:
        raise InputError(
            f"checkpoint {path} holds no tensors (its keys: {', '.join(map(str, content))[:200]}): "
            "give a file with a state_dict"
        )
    return state


def _find_branch(state: Mapping[str, Tensor], branch: str) -> tuple[str, dict[str, Tensor]]:
    for prefix in PREFIXES[branch]:
        found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if found:
            break
    return prefix, found


def _prove(
    wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], prefix: str, path: str | Path
) -> None:
    missing = [key for key in wanted if key not in found and not key.endswith(COUNTER)]
    misshapen = [
        f"{key} ({tuple(found[key].shape)}, the backbone has {tuple(wanted[key].shape)})"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    left_over = [key for key in found if key not in wanted]
    if not prefix:
        # Among bare keys there may be a head; but a thirteenth layer is of another backbone.
        parts = {key.split(".")[0] for key in wanted}
        left_over = [key for key in left_over if key.split(".")[0] in parts]
    faults = [
        f"{len(names)} {what}: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        for what, names in (
            ("missing", missing),
            ("of another shape", misshapen),
            ("left over", left_over),
        )
        if names
    ]
    if faults:
        raise InputError(
            f"checkpoint {path} does not hold the config's backbone under "
            f"{prefix + '*' if prefix else 'bare keys'} ({'; '.join(faults)}): set model.backbone "
            "to the one that it was trained with, or convert the checkpoint's keys"
        )


def _resize_position_embeddings(
    backbone: nn.Module, wanted: Mapping[str, Tensor], found: dict[str, Tensor]
) -> list[str]:
    resized = []
    for key, own in wanted.items():
        other = found.get(key)
        if not key.endswith("pos_embed") or other is None or own.ndim != 3:
            continue
        grid = _grid(backbone, key)
        if other.shape == own.shape or grid is None or other.ndim != 3:
            continue
        # Class tokens and the like stand in front and have no place.
        extra = own.shape[1] - grid[0] * grid[1]
        side = isqrt(max(other.shape[1] - extra, 0))
        if side**2 + extra != other.shape[1] or not side or other.shape[2] != own.shape[2]:
            continue
        places = other[:, extra:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        places = F.interpolate(places, size=grid, mode="bicubic", align_corners=False)
        places = places.flatten(2).transpose(1, 2).to(other.dtype)
        found[key] = other.new_empty(own.shape)
        found[key][:, :extra], found[key][:, extra:] = other[:, :extra], places
        resized.append(f"{key}: {side}x{side} -> {grid[0]}x{grid[1]}")
    return resized


def _grid(backbone: nn.Module, key: str) -> tuple[int, int] | None:
    # mmpretrain and timm name the patch grid differently.
    owner = backbone.get_submodule(key.rpartition(".")[0])
    embed = getattr(owner, "patch_embed", None)
    grid = getattr(embed, "init_out_size", None) or getattr(embed, "grid_size", None)
    return tuple(grid) if grid is not None else None
