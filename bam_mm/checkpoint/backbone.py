"""Loading a backbone from a checkpoint, with proof that all its tensors were loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.checkpoint.architectures import recognise
from bam_mm.checkpoint.branches import Branch, find_branch
from bam_mm.checkpoint.names import Names
from bam_mm.checkpoint.position import resize_position_embeddings, spread_shared_bias
from bam_mm.checkpoint.reading import file_digest, read_checkpoint
from bam_mm.errors import InputError, listing

COUNTER = "num_batches_tracked"
"""Name of the batch counter of BatchNorm, which older checkpoints lack and evaluation ignores."""

INDEX = "relative_position_index"
"""Name of the index that maps pairs of patches to their bias. It follows from the grid and is not a
weight."""


@dataclass(frozen=True)
class LoadReport:
    """Report of a loaded backbone.

    Attributes:
        path: Path of the checkpoint.
        prefix: Prefix of the loaded tensors in the file, ``""`` for bare keys.
        loaded: Number of loaded tensors.
        resized: Position embeddings that were resized, as ``name: 14x14 -> 6x6``.
        unused: Keys of the file that were not loaded.
        layout: Recognised layout of the file and naming scheme of its tensors.
        changed: Other changes to the tensors, ``""`` for none.
        file_sha256: SHA-256 of the file.
        digest: SHA-256 of the loaded tensors under their names in the backbone. It is the same for
            the same weights in the same backbone, whatever the format, layout or branch of the
            file.
        preprocessing: Preprocessing that the run uses, see
            :meth:`~bam_mm.checkpoint.preprocessing.Preprocessing.facts`; None if it is not known.
    """

    path: str
    prefix: str
    loaded: int
    resized: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    layout: str = ""
    changed: str = ""
    file_sha256: str = ""
    digest: str = ""
    preprocessing: dict[str, Any] | None = None

    def __str__(self) -> str:
        text = f"loaded all {self.loaded} tensors of the backbone from {self.path} "
        text += f"({self.prefix or 'bare keys'}{'*' if self.prefix else ''}; {self.layout})"
        if self.resized:
            text += f"; resized bicubically {', '.join(self.resized)}"
        if self.changed:
            text += f"; {self.changed}"
        text += f"; {len(self.unused)} other tensors of the file are not used"
        return f"{text}; file sha256 {self.file_sha256[:12]}, weights {self.digest[:12]}"


def load_backbone(
    backbone: nn.Module, path: str | Path, branch: str = "teacher", *, trust: bool = False
) -> LoadReport:
    """Load a backbone from a checkpoint of BAM, mmpretrain, timm, DINO, MoCo v3, MAE or BEiT.

    The location of the branch (:mod:`bam_mm.checkpoint.layouts`) and the naming scheme of its
    tensors (:mod:`bam_mm.checkpoint.architectures`) are recognised from the keys. That every tensor
    matches proves that they were recognised correctly.

    Args:
        backbone: Backbone of mmpretrain or timm, whose weights are replaced.
        path: Path of the checkpoint, see :func:`~bam_mm.checkpoint.reading.read_checkpoint`.
        branch: ``teacher`` or ``student``. In a file without a teacher, both are its only backbone.
        trust: Whether the user has explicitly allowed code in this file to run.

    Returns:
        The report, which is also logged.

    Raises:
        InputError: If a tensor of the backbone is missing from the file or has another shape there
            (position embeddings are resized), or a tensor of the branch is left over.
    """
    source = find_branch(read_checkpoint(path, trust=trust), branch, path)
    wanted = backbone.state_dict()
    target = recognise(wanted)
    ours = _renamed(source, target)
    found = {
        name: tensor for key, tensor in source.tensors.items() if (name := ours[key]) is not None
    }
    resized = resize_position_embeddings(backbone, wanted, found)
    changed = spread_shared_bias(wanted, found)
    left_over, aside = _left_over(source, ours, wanted, spread=bool(changed))
    _prove(wanted, found, left_over, source, target, path)
    backbone.load_state_dict(
        {key: found.get(key, value) for key, value in wanted.items()}, strict=True
    )
    taken = [key for key in wanted if key in found]
    report = LoadReport(
        path=str(path),
        prefix=source.prefix,
        loaded=len(taken),
        resized=resized,
        unused=sorted(source.others + [source.prefix + key for key in aside]),
        layout=f"{source.layout.name}: {source.names}",
        changed=changed,
        file_sha256=file_digest(path),
        digest=tensor_digest(backbone.state_dict(), taken),
    )
    print_log(str(report), logger="current")
    return report


def tensor_digest(state: Mapping[str, Tensor], keys: Iterable[str] | None = None) -> str:
    """Compute the SHA-256 of tensors with their names, dtypes and shapes.

    Args:
        state: Tensors by name.
        keys: Names of the tensors to include; None includes all.

    Returns:
        The digest in hexadecimal.
    """
    digest = sha256()
    for key in sorted(state if keys is None else keys):
        tensor = state[key].detach().cpu().contiguous()
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # Viewed as bytes, because NumPy has no bfloat16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _renamed(source: Branch, target: Names) -> dict[str, str | None]:
    """Map the file's names to the backbone's, or to None where no rule covers a name."""
    names = source.names
    if names == target or names.keymap is not target.keymap:
        return {key: key for key in source.tensors}
    theirs = {key: names.to_timm(key) for key in source.tensors}
    return {k: None if name is None else target.from_timm(name) for k, name in theirs.items()}


def _left_over(
    source: Branch, ours: Mapping[str, str | None], wanted: Mapping[str, Tensor], *, spread: bool
) -> tuple[list[str], list[str]]:
    """Return the keys of the file that the backbone lacks, and those of heads and decoders."""
    rest = [k for k, name in ours.items() if name not in wanted and not k.endswith(INDEX)]
    if spread:
        rest = [key for key in rest if not key.startswith("rel_pos_bias.")]
    parts = {(name or key).split(".")[0] for key, name in ours.items() if name in wanted}
    parts |= {key.split(".")[0] for key, name in ours.items() if name in wanted}
    left_over = []
    for key in rest:
        known = source.names.keymap is not None and source.names.to_timm(key) is not None
        if not known and source.layout.is_aside(key):
            continue
        # Bare keys may include a head, but a thirteenth layer belongs to another backbone.
        if known or source.prefix or key.split(".")[0] in parts:
            left_over.append(key)
    return left_over, [key for key in rest if key not in left_over]


def _prove(
    wanted: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    left_over: list[str],
    source: Branch,
    target: Names,
    path: str | Path,
) -> None:
    theirs = {name: key for key, name in _renamed(source, target).items() if name is not None}

    def described(key: str) -> str:
        name = theirs.get(key)
        if name is None and source.names.keymap is target.keymap:
            timm = target.to_timm(key)
            name = None if timm is None else source.names.from_timm(timm)
        return key if name in (None, key) else f"{key} ({name} in the file)"

    missing = [described(k) for k in wanted if k not in found and not k.endswith((COUNTER, INDEX))]
    misshapen = [
        f"{described(key)} ({tuple(found[key].shape)}, the backbone has {tuple(wanted[key].shape)})"
        for key in wanted
        if key in found and found[key].shape != wanted[key].shape
    ]
    other_index = [
        described(key)
        for key in wanted
        if key.endswith(INDEX)
        and key in found
        and found[key].shape == wanted[key].shape
        and not torch.equal(found[key].cpu(), wanted[key].cpu())
    ]
    faults = [
        f"{len(names)} {what}: {listing(names)}"
        for what, names in (
            ("missing", missing),
            ("of another shape", misshapen),
            ("of another order of patches", other_index),
            ("left over", left_over),
        )
        if names
    ]
    if faults:
        raise InputError(
            f"checkpoint {path} does not hold the config's backbone under {source.where} "
            f"({'; '.join(faults)}). The file: {source.layout.name}, {source.names}; the backbone: "
            f"{target}. Set model.backbone to the one that was trained, choose another branch, or "
            "rename the keys of the checkpoint"
        )
