"""Loading a backbone from a checkpoint, with proof that all its tensors were loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.checkpoint.added import missing_additions
from bam_mm.checkpoint.architectures import recognise
from bam_mm.checkpoint.branches import Branch, find_branch
from bam_mm.checkpoint.hints import remedy
from bam_mm.checkpoint.names import WRAPPER, Names
from bam_mm.checkpoint.position import resize_position_embeddings, spread_shared_bias
from bam_mm.checkpoint.reading import file_digest, read_checkpoint
from bam_mm.checkpoint.soundness import check_types, check_values, conversion
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
        converted: Change of their type, such as ``converted from bfloat16 to float32``, ``""`` for
            none.
        candidates: Other backbones of the file, such as ``backbone.* (student)``.
        added: Tensors that the backbone has for its outputs alone and the file lacks. They keep
            their values.
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
    converted: str = ""
    candidates: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    file_sha256: str = ""
    digest: str = ""
    preprocessing: dict[str, Any] | None = None

    def __str__(self) -> str:
        text = f"loaded all {self.loaded} tensors of the backbone from {self.path} "
        text += f"({self.prefix or 'bare keys'}{'*' if self.prefix else ''}; {self.layout})"
        if self.resized:
            text += f"; resized bicubically {', '.join(self.resized)}"
        for change in filter(None, (self.changed, self.converted)):
            text += f"; {change}"
        if self.added:
            text += f"; added for outputs, at their initial values: {listing(self.added)}"
        if self.candidates:
            text += f"; the file also holds {', '.join(self.candidates)}"
        text += f"; {len(self.unused)} other tensors of the file are not used"
        return f"{text}; file sha256 {self.file_sha256[:12]}, weights {self.digest[:12]}"


def load_backbone(
    backbone: nn.Module, path: str | Path, branch: str = "teacher", *, trust: bool = False
) -> LoadReport:
    """Load a backbone from a checkpoint of this or another codebase.

    Tensors that a detector or segmentor added for its outputs may be missing
    (:func:`~bam_mm.checkpoint.added.added_parameters`). The report names them.

    The location of the branch (:mod:`bam_mm.checkpoint.roles`) and the naming scheme of its tensors
    (:mod:`bam_mm.checkpoint.architectures`, :mod:`bam_mm.checkpoint.dialects`) are recognised from
    the keys. That every tensor matches proves that they were recognised correctly.

    Args:
        backbone: Backbone of mmpretrain or timm, whose weights are replaced.
        path: Path of the checkpoint, see :func:`~bam_mm.checkpoint.reading.read_checkpoint`.
        branch: ``teacher`` or ``student``, see :func:`~bam_mm.checkpoint.branches.find_branch`.
        trust: Whether the user has explicitly allowed code in this file to run.

    Returns:
        The report, which is also logged.

    Raises:
        InputError: If the file holds no backbone or not that branch, a tensor of the backbone is
            missing or has another shape or type there (position embeddings are resized, and
            floating-point numbers are converted), a tensor of the branch is left over, or numbers
            are not finite.
    """
    # bam_mm.DenseBackbone adds norms and settings around the network that the file holds.
    backbone = getattr(backbone, getattr(backbone, "wraps", ""), backbone)
    wanted = backbone.state_dict()
    source = find_branch(read_checkpoint(path, trust=trust), branch, path, wanted)
    target = recognise(wanted)
    ours = _renamed(source, target)
    found = {
        name: tensor for key, tensor in source.tensors.items() if (name := ours[key]) is not None
    }
    check_types(found, wanted, path)
    resized = resize_position_embeddings(backbone, wanted, found)
    changed = spread_shared_bias(wanted, found)
    left_over, aside = _left_over(source, ours, wanted, spread=bool(changed))
    added = missing_additions(backbone, found)
    required = {key: tensor for key, tensor in wanted.items() if key not in added}
    _prove(required, found, left_over, source, target, path)
    taken = [key for key in wanted if key in found]
    loaded = {key: found[key] for key in taken}
    check_values(
        loaded,
        path,
        wanted=wanted,
        described=_describer(source, target),
        timm_name=target.to_timm,
    )
    backbone.load_state_dict(
        {key: found.get(key, value) for key, value in wanted.items()}, strict=True
    )
    report = LoadReport(
        path=str(path),
        prefix=source.prefix,
        loaded=len(taken),
        resized=resized,
        unused=sorted(source.others + [source.prefix + source.in_file(key) for key in aside]),
        layout=f"{source.layout.name}: {source.scheme}",
        changed="; ".join(filter(None, (source.changed, changed))),
        converted=conversion(loaded, wanted),
        candidates=source.candidates,
        added=added,
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
    if names.side == target.side:
        # Names of timm that no rule covers are the same, too.
        return {key: _rewrapped(key, names, target) for key in source.tensors}
    theirs = {key: names.to_timm(key) for key in source.tensors}
    return {k: None if name is None else target.from_timm(name) for k, name in theirs.items()}


def _rewrapped(key: str, names: Names, target: Names) -> str | None:
    if names.wrapped and not key.startswith(WRAPPER):
        return None
    return WRAPPER * target.wrapped + (key.removeprefix(WRAPPER) if names.wrapped else key)


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


def _describer(source: Branch, target: Names) -> Callable[[str], str]:
    """Return a function that adds the name in the file to a tensor of the backbone."""
    theirs = {name: key for key, name in _renamed(source, target).items() if name is not None}

    def described(key: str) -> str:
        name = theirs.get(key)
        if name is None and source.names.keymap is target.keymap:
            timm = target.to_timm(key)
            name = None if timm is None else source.names.from_timm(timm)
        name = None if name is None else source.in_file(name)
        return key if name in (None, key) else f"{key} ({name} in the file)"

    return described


def _prove(
    wanted: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    left_over: list[str],
    source: Branch,
    target: Names,
    path: str | Path,
) -> None:
    described = _describer(source, target)
    absent = [k for k in wanted if k not in found and not k.endswith((COUNTER, INDEX))]
    missing = [described(key) for key in absent]
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
        and not torch.equal(found[key].cpu().to(wanted[key].dtype), wanted[key].cpu())
    ]
    faults = [
        f"{len(names)} {what}: {listing(names)}"
        for what, names in (
            ("missing", missing),
            ("of another shape", misshapen),
            ("of another order of patches", other_index),
            ("left over", [source.in_file(key) for key in left_over]),
        )
        if names
    ]
    if faults:
        raise InputError(
            f"checkpoint {path} does not hold the config's backbone under {source.where} "
            f"({'; '.join(faults)}). The file: {source.layout.name}, {source.scheme}; the "
            f"backbone: {target}. {remedy(left_over, absent, source.tensors, path)}"
        )
