"""Converting checkpoints between the names of timm and mmpretrain, with proof."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from bam_mm.checkpoint.architectures import KEYMAPS, recognise
from bam_mm.checkpoint.backbone import LoadReport, load_backbone, tensor_digest
from bam_mm.checkpoint.branches import Branch, find_branch
from bam_mm.checkpoint.contents import tensors_of, without_wrappers
from bam_mm.checkpoint.file_preprocessing import RECORD, checkpoint_preprocessing
from bam_mm.checkpoint.matching import match
from bam_mm.checkpoint.names import COUNTER, INDEX, WRAPPER, Names, bare
from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.checkpoint.recorded_config import recorded_backbone
from bam_mm.checkpoint.soundness import check_types, check_values
from bam_mm.checkpoint.writing import write_whole
from bam_mm.errors import InputError, listing
from bam_mm.registry import MODELS

TARGETS = ("mmpretrain", "timm")

PREFIX = {"mmpretrain": "backbone.", "timm": ""}
"""Prefix of every key in a converted file, as each library expects it."""


@dataclass(frozen=True)
class ConversionReport:
    """Report of a conversion.

    Attributes:
        source: Path of the source file.
        target: Path of the written file.
        layout: Recognised layout of the source and naming scheme of its tensors.
        names: Naming scheme of the tensors in the written file.
        renamed: Number of tensors with a new name.
        tensors: Number of written tensors.
        aside: Keys of the source that were not converted, such as heads and the other branch.
        digest: SHA-256 of the tensors under timm's names, which is the same before and after.
        loaded: Report of loading the written file into a model, None if no model was passed.
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
            f"under another name; {len(self.aside)} others skipped"
            + (f" ({listing(self.aside)})" if self.aside else ""),
            "proof: the written file, read again and converted back, has the names of the source "
            f"and identical tensors (sha256 {self.digest[:16]})",
        ]
        if self.loaded is None:
            lines.append("not loaded into a model: pass --model to prove that it fits one")
        else:
            lines.append(f"proof: {self.loaded}")
        return "\n".join(lines)


def convert(state: Mapping[str, Tensor], to: str) -> dict[str, Tensor]:
    """Rename the tensors of a backbone.

    Args:
        state: Tensors of one backbone by name, without a prefix and without heads, with the names
            of mmpretrain or of timm (which DINO, MoCo v3, MAE, BEiT and the released BAM also use).
        to: Target names, ``mmpretrain`` or ``timm``. If mmpretrain has no class for the
            architecture, its names are those of ``TIMMBackbone``.

    Returns:
        The same tensors under their new names. Converting them back results in the keys of
        ``state``.

    Raises:
        InputError: If ``to`` is unknown, or the tables do not cover a name or the architecture.
    """
    if to not in TARGETS:
        raise InputError(f"--to {to}: choose one of {', '.join(TARGETS)}")
    source = recognise(state)
    return _translate(state, source, _target(source, to))


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    to: str,
    branch: str = "teacher",
    model: nn.Module | None = None,
    trust: bool = False,
) -> ConversionReport:
    """Convert the backbone of a branch to a separate file, and prove that nothing was lost.

    Args:
        source: Checkpoint to convert, any that
            :func:`~bam_mm.checkpoint.backbone.load_backbone` reads.
        target: File to write, in the safetensors format if the name ends in ``.safetensors``, and
            otherwise in the format of torch. Keys of mmpretrain start with ``backbone.``.
        to: Target names, ``mmpretrain`` or ``timm``.
        branch: ``teacher`` or ``student``.
        model: Backbone into which the written file is loaded as a proof. Its weights are replaced.
        trust: Whether the user has explicitly allowed code in ``source`` to run.

    Returns:
        The report of the conversion.

    Raises:
        InputError: If the source cannot be converted, does not hold finite floating-point numbers
            or does not fit the model, ``target`` is ``source``, or the folder of ``target`` does
            not exist.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    if target.exists() and source.exists() and target.samefile(source):
        raise InputError(f"{target} is the source: choose another name for the result")
    if not target.parent.is_dir():
        raise InputError(f"folder {target.parent} does not exist: create it first")
    if to not in TARGETS:
        raise InputError(f"--to {to}: choose one of {', '.join(TARGETS)}")
    content = read_checkpoint(source, trust=trust)
    plan, result = _converted(content, source, branch, to, model, trust)
    found, state = plan.found, plan.state
    # Batch counters and indexes are integers.
    floats = {key: torch.empty(0) for key in state if not key.endswith((COUNTER, INDEX))}
    check_types(state, floats, source)
    check_values(state, source, described=found.in_file, timm_name=plan.names.to_timm)
    stated = checkpoint_preprocessing(source, trust=trust)
    _write({PREFIX[to] + key: tensor for key, tensor in result.items()}, target, to, stated)
    _prove_inverse(plan, target, PREFIX[to])
    return ConversionReport(
        source=str(source),
        target=str(target),
        layout=f"{found.layout.name}: {found.scheme}",
        names=found.scheme if plan.target.keymap is None else str(plan.target),
        renamed=sum(found.in_file(a) != b for a, b in zip(state, result, strict=True)),
        tensors=len(result),
        aside=sorted(found.others + [found.prefix + found.in_file(key) for key in plan.aside]),
        # Every key has a name in timm, or keeps its own one.
        digest=tensor_digest({cast(str, plan.names.to_timm(key)): state[key] for key in state}),
        loaded=None if model is None else load_backbone(model, target),
    )


@dataclass(frozen=True)
class _Plan:
    """The tensors to convert, and the naming schemes before and after."""

    found: Branch
    aside: list[str]
    names: Names
    target: Names

    @property
    def state(self) -> dict[str, Tensor]:
        return {key: t for key, t in self.found.tensors.items() if key not in self.aside}


def _converted(
    content: Mapping[str, Any],
    source: Path,
    branch: str,
    to: str,
    model: nn.Module | None,
    trust: bool,
) -> tuple[_Plan, dict[str, Tensor]]:
    """Convert by the tables, or by the names of the model or of the recorded backbone."""
    try:
        plan = _plan(content, source, branch, to, model)
        return plan, _translate(plan.state, plan.names, plan.target)
    except InputError:
        recorded = _recorded(source, trust) if model is None else None
        if recorded is None:
            raise
    plan = _plan(content, source, branch, to, recorded)
    return plan, _translate(plan.state, plan.names, plan.target)


def _plan(
    content: Mapping[str, Any], source: Path, branch: str, to: str, reference: nn.Module | None
) -> _Plan:
    """Plan a conversion by the tables, or by the names of a backbone that the file has."""
    wanted = reference.state_dict() if reference else {}
    found = find_branch(content, branch, source, wanted)
    names = found.names
    if found.own:
        matched = match(found, wanted)
        kept = [key for key in found.tensors if key not in matched.aside]
        target = names if names.keymap is None else _target(names, to)
        if names.keymap is not None and all(_renamed(key, names, target) for key in kept):
            return _Plan(found, matched.aside, names, target)
        # In a few networks, words of wrappers are a part of the names.
        own = {bare(without_wrappers(name)): bare(name) for name in wanted}
        tensors = {
            WRAPPER * key.startswith(WRAPPER) + own.get(bare(key), bare(key)): found.tensors[key]
            for key in kept
        }
        names = Names(None, "timm", names.wrapped)
        target = _own_names(cast(nn.Module, reference), to, source)
        return _Plan(replace(found, tensors=tensors), matched.aside, names, target)
    aside = [
        key
        for key in found.tensors
        if names.keymap is None or names.to_timm(key) is None
        if found.layout.is_aside(key)
    ]
    return _Plan(found, aside, names, _target(names, to))


def _recorded(source: Path, trust: bool) -> nn.Module | None:
    """Build the backbone whose config a checkpoint records; None if it records none."""
    try:
        return MODELS.build(recorded_backbone(source, trust=trust))
    except InputError:
        return None


def _own_names(reference: nn.Module, to: str, source: Path) -> Names:
    """Return the naming scheme of a backbone that no table covers."""
    timm = any(key.startswith(WRAPPER) for key in reference.state_dict())
    plain = type(reference).__module__.startswith("timm.")
    if to == "timm" and not (timm or plain):
        raise InputError(
            f"{source} is not converted: its names are those of mmpretrain's "
            f"{type(reference).__name__}, for which there is no table of timm's names; use "
            "--to mmpretrain"
        )
    return Names(None, to, wrapped=to == "mmpretrain" and (timm or plain))


def _translate(state: Mapping[str, Tensor], source: Names, target: Names) -> dict[str, Tensor]:
    renamed = {key: _renamed(key, source, target) for key in state}
    unknown = [key for key, name in renamed.items() if name is None]
    if unknown:
        raise InputError(
            f"not converted ({source}): no rule covers {len(unknown)} of {len(state)} tensors "
            f"({listing(unknown)}); name the network that they belong to (--model timm:NAME or a "
            "config), or rename or delete them"
        )
    result = {name: state[key] for key, name in renamed.items() if name is not None}
    if len(result) < len(state):
        raise InputError(
            f"not converted ({source}): several tensors would get the same name; delete the "
            "duplicates"
        )
    return result


def _renamed(key: str, source: Names, target: Names) -> str | None:
    """Translate a name between two schemes of an architecture; None if no rule covers it."""
    timm_name = source.to_timm(key)
    return None if timm_name is None else target.from_timm(timm_name)


def _target(source: Names, to: str) -> Names:
    if source.keymap is None:
        if source.wrapped:
            return Names(None, to, wrapped=to == "mmpretrain")
        raise InputError(
            "not converted: the names are those of no architecture in the tables "
            f"({', '.join(keymap.family for keymap in KEYMAPS)}); name the network that they "
            "belong to (--model timm:NAME or a config), whose names need no table"
        )
    if to == "timm":
        return Names(source.keymap, "timm")
    native = source.keymap.native
    return Names(source.keymap, "mmpretrain" if native else "timm", wrapped=not native)


def _write(state: dict[str, Tensor], target: Path, to: str, stated: Preprocessing | None) -> None:
    state = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    if target.suffix == ".safetensors":
        metadata = {RECORD: json.dumps(stated.facts())} if stated else None
        content = safetensors.torch.save(state, metadata)
    else:
        if stated:
            # Where state dicts of torch keep the versions of their modules: not a key of its own.
            state = OrderedDict(state)
            vars(state)["_metadata"] = {RECORD: stated.facts()}
        file = io.BytesIO()
        torch.save({"state_dict": state} if to == "mmpretrain" else state, file)
        content = file.getvalue()
    write_whole(target, content)


def _prove_inverse(plan: _Plan, target: Path, prefix: str) -> None:
    written = {
        key.removeprefix(prefix): value
        for key, value in tensors_of(read_checkpoint(target), target).state.items()
    }
    # By the names that a reader recognises.
    names = plan.target if plan.target.keymap is None else recognise(written)
    back = {_renamed(key, names, plan.names): value for key, value in written.items()}
    state = {without_wrappers(key): value for key, value in plan.state.items()}
    wrong: list[str | None] = [
        key for key in state if key not in back or not torch.equal(back[key], state[key])
    ]
    wrong += [key for key in back if key not in state]
    if wrong:
        target.unlink()
        raise AssertionError(f"bug in the key tables: converting back changes {listing(wrong)}")
