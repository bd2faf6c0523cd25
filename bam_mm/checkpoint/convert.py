"""Converting checkpoints between timm's names and mmpretrain's, with proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from bam_mm.checkpoint.architectures import KEYMAPS, recognise
from bam_mm.checkpoint.backbone import LoadReport, load_backbone, tensor_digest
from bam_mm.checkpoint.branches import find_branch
from bam_mm.checkpoint.names import WRAPPER, Names
from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.errors import InputError, listing

TARGETS = ("mmpretrain", "timm")

PREFIX = {"mmpretrain": "backbone.", "timm": ""}
"""Before every key of a converted file, as the library expects it."""


@dataclass(frozen=True)
class ConversionReport:
    """What was converted.

    Attributes:
        source: The file read.
        target: The file written.
        layout: Whose file the source is and whose names its tensors have.
        names: Whose names the tensors have now.
        renamed: Number of tensors whose name changed.
        tensors: Number of tensors written.
        aside: Keys of the source that were not converted: heads, the other branch.
        digest: SHA-256 of the tensors under timm's names; the same before and after.
        loaded: Report of loading the written file into a model, if one was given.
    """

    source: str
    target: str
    layout: str
    names: str
    renamed: int
    tensors: int
    aside: list[str]
    digest: str
    loaded: LoadReport | None = None

    def __str__(self) -> str:
        lines = [
            f"{self.source} ({self.layout})",
            f"-> {self.target} ({self.names})",
            f"{self.tensors} of {self.tensors} tensors of the backbone converted, {self.renamed} "
            f"under another name; {len(self.aside)} others left aside"
            + (f" ({listing(self.aside)})" if self.aside else ""),
            "proof: the written file, read again and converted back, has the names of the source "
            f"and its tensors bit for bit (sha256 {self.digest[:16]})",
        ]
        if self.loaded is None:
            lines.append("not loaded into a model: give --model to prove that it fits one")
        else:
            lines.append(f"proof: {self.loaded}")
        return "\n".join(lines)


def convert(state: Mapping[str, Tensor], to: str) -> dict[str, Tensor]:
    """Rename a backbone's tensors.

    Args:
        state: Of one backbone, without a prefix and without heads, with timm's names (which
            DINO, MoCo v3, MAE, BEiT and the released BAM share) or mmpretrain's.
        to: ``mmpretrain`` or ``timm``. Where mmpretrain has no class of its own the names are those
            of its ``TIMMBackbone``.

    Returns:
        The same tensors, renamed; converting them back gives the keys of ``state``.

    Raises:
        InputError: If a name is in no table, with all such names.
    """
    if to not in TARGETS:
        raise InputError(f"--to {to}: choose one of {', '.join(TARGETS)}")
    source = recognise(state)
    target = _target(source, to)
    unknown = [key for key in state if source.to_timm(key) is None]
    if unknown:
        raise InputError(
            f"not converted ({source}): no rule covers {len(unknown)} of {len(state)} tensors "
            f"({listing(unknown)}); rename them, or delete those that are no part of the backbone"
        )
    result = {target.from_timm(source.to_timm(key)): state[key] for key in state}
    if len(result) < len(state):
        raise InputError(f"not converted ({source}): several tensors would get one name")
    return result


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    to: str,
    branch: str = "teacher",
    model: nn.Module | None = None,
    trust: bool = False,
) -> ConversionReport:
    """Convert a branch's backbone into a file of its own, and prove that nothing was lost.

    Args:
        source: Any checkpoint that :func:`~bam_mm.checkpoint.backbone.load_backbone` reads.
        target: Written: safetensors if it is so called, else torch's format. mmpretrain's keys have
            ``backbone.`` before them.
        to: ``mmpretrain`` or ``timm``.
        branch: ``teacher`` or ``student``.
        model: A backbone into which the written file is loaded for proof; its weights are replaced.
        trust: The user's explicit word that code in ``source`` may run.

    Returns:
        The report.

    Raises:
        InputError: If anything was not converted, or ``target`` is ``source``.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target} is the source: give another name for the result")
    if not target.parent.is_dir():
        raise InputError(f"folder {target.parent} does not exist: create it first")
    found = find_branch(read_checkpoint(source, trust=trust), branch, source)
    aside = [
        key
        for key in found.tensors
        if found.names.keymap is None or found.names.to_timm(key) is None
        if found.layout.is_aside(key)
    ]
    state = {key: tensor for key, tensor in found.tensors.items() if key not in aside}
    result = convert(state, to)
    _write({PREFIX[to] + key: tensor for key, tensor in result.items()}, target, to)
    _prove_inverse(state, found.names, target)
    return ConversionReport(
        source=str(source),
        target=str(target),
        layout=f"{found.layout.name}: {found.names}",
        names=str(recognise(result)),
        renamed=sum(a != b for a, b in zip(state, result, strict=True)),
        tensors=len(result),
        aside=sorted(found.others + [found.prefix + key for key in aside]),
        digest=tensor_digest({found.names.to_timm(key): state[key] for key in state}),
        loaded=None if model is None else load_backbone(model, target),
    )


def _target(source: Names, to: str) -> Names:
    if source.keymap is None:
        if to == "timm" and source.wrapped:
            return Names(None, "timm")
        raise InputError(
            "not converted: the names are of no architecture in the tables "
            f"({', '.join(keymap.family for keymap in KEYMAPS)}); a timm model goes into "
            f"mmpretrain's TIMMBackbone without converting, with or without {WRAPPER}*"
        )
    if to == "timm":
        return Names(source.keymap, "timm")
    native = source.keymap.native
    return Names(source.keymap, "mmpretrain" if native else "timm", wrapped=not native)


def _write(state: dict[str, Tensor], target: Path, to: str) -> None:
    state = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    if target.suffix == ".safetensors":
        safetensors.torch.save_file(state, target)
    else:
        torch.save({"state_dict": state} if to == "mmpretrain" else state, target)


def _prove_inverse(state: Mapping[str, Tensor], names: Names, target: Path) -> None:
    written = find_branch(read_checkpoint(target), "student", target)
    back = {names.from_timm(written.names.to_timm(k)): v for k, v in written.tensors.items()}
    wrong = [key for key in state if key not in back or not torch.equal(back[key], state[key])]
    wrong += [key for key in back if key not in state]
    if wrong:
        target.unlink()
        raise AssertionError(f"defect of the key tables: converting back changes {listing(wrong)}")
