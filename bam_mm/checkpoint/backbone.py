"""Loading a backbone from a checkpoint, with proof that all its tensors were loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.checkpoint.added import missing_additions
from bam_mm.checkpoint.branches import find_branch
from bam_mm.checkpoint.matching import match
from bam_mm.checkpoint.pointwise import reshape_pointwise
from bam_mm.checkpoint.position import resize_position_embeddings, spread_shared_bias
from bam_mm.checkpoint.reading import file_digest, read_checkpoint
from bam_mm.checkpoint.soundness import check_types, check_values, conversion
from bam_mm.errors import listing

RANDOM = "random"
"""Word that replaces a checkpoint and stands for the random weights of an untrained network."""


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
        file = f"file sha256 {self.file_sha256[:12]}, " if self.file_sha256 else ""
        return f"{text}; {file}weights {self.digest[:12]}"


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
    # A backbone may add norms and settings around the network that the file holds.
    backbone = getattr(backbone, getattr(backbone, "wraps", ""), backbone)
    state, report = fit_backbone(backbone, read_checkpoint(path, trust=trust), path, branch)
    backbone.load_state_dict(state, strict=True)
    report = replace(report, file_sha256=file_digest(path))
    print_log(str(report), logger="current")
    return report


def fit_backbone(
    backbone: nn.Module, content: Mapping[str, Any], path: str | Path, branch: str = "teacher"
) -> tuple[dict[str, Tensor], LoadReport]:
    """Find every tensor of a backbone in the contents of a checkpoint, without loading it.

    Args:
        backbone: Backbone of mmpretrain or timm, which is not changed.
        content: Contents of the checkpoint.
        path: Path of the checkpoint, for messages.
        branch: ``teacher`` or ``student``.

    Returns:
        The state of the backbone, and the report without the digest of the file.

    Raises:
        InputError: Same as in :func:`load_backbone`.
    """
    wanted = backbone.state_dict()
    source = find_branch(content, branch, path, wanted)
    matched = match(source, wanted)
    found = matched.tensors()
    check_types(found, wanted, path)
    resized = resize_position_embeddings(backbone, wanted, found)
    spread = spread_shared_bias(wanted, found)
    if spread:
        matched = matched.without("rel_pos_bias.")
    changes = (source.changed, spread, reshape_pointwise(wanted, found))
    added = missing_additions(backbone, found)
    required = {key: tensor for key, tensor in wanted.items() if key not in added}
    matched.prove(found, required, path)
    loaded = {key: found[key] for key in wanted if key in found}
    to_timm = matched.target.to_timm
    check_values(loaded, path, wanted=wanted, described=matched.described, timm_name=to_timm)
    report = LoadReport(
        path=str(path),
        prefix=source.prefix,
        loaded=len(loaded),
        resized=resized,
        unused=sorted(
            source.others + [source.prefix + source.in_file(key) for key in matched.aside]
        ),
        layout=f"{source.layout.name}: {source.scheme}",
        changed="; ".join(filter(None, changes)),
        converted=conversion(loaded, wanted),
        candidates=source.candidates,
        added=added,
        digest=tensor_digest({key: value.to(wanted[key].dtype) for key, value in loaded.items()}),
    )
    return {**wanted, **loaded}, report


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
