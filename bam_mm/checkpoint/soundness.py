"""Checks of the numbers in a checkpoint: their type, finiteness, and whether they do anything."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmengine.logging import print_log
from torch import Tensor

from bam_mm.errors import InputError, listing

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Types whose numbers are those of the network. Smaller ones need scales to be understood."""

VITAL = re.compile(r"(patch_embed\.proj|norm|fc_norm|conv1|bn1|stem\.0|conv_stem)\.weight")
"""Names in timm of the first layer and the last norm. If one is zero, no image has an influence."""


def check_types(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: object) -> None:
    """Check that tensors have the types of a network's weights.

    Args:
        found: Tensors of the file.
        wanted: Tensors of the network by the same names.
        path: Path of the file, for messages.

    Raises:
        InputError: If a tensor is quantised, complex, of an integer type where the network has
            floating-point numbers, or not stored as a plain array.
    """
    faults: dict[str, list[str]] = {}
    for name, own in wanted.items():
        kind = _fault(found[name], own) if name in found else None
        if kind:
            faults.setdefault(kind, []).append(name)
    if faults:
        kinds = "; ".join(
            f"{len(names)} {kind}: {listing(names, 2)}" for kind, names in faults.items()
        )
        raise InputError(
            f"checkpoint {path} does not hold its weights as floating-point numbers ({kinds}): "
            "save them as plain float32, float16 or bfloat16 tensors, dequantised and whole"
        )


def check_values(
    found: Mapping[str, Tensor],
    path: str | Path,
    *,
    wanted: Mapping[str, Tensor] | None = None,
    described: Callable[[str], str] = str,
    timm_name: Callable[[str], str | None] = lambda name: name,
) -> None:
    """Check that the numbers of a network are finite, and warn of those without an effect.

    Args:
        found: Tensors of the file.
        path: Path of the file, for messages.
        wanted: Tensors of the network by the same names, in whose types the numbers must be finite.
        described: Function that returns the name of a tensor for messages.
        timm_name: Function that returns timm's name of a tensor, None if it is unknown.

    Raises:
        InputError: If a tensor has NaN or infinite numbers, or if weights that every image passes
            through are all zero.
    """
    floats = {name: tensor for name, tensor in found.items() if tensor.is_floating_point()}
    broken = []
    for name, tensor in floats.items():
        fault = _fault_of_values(tensor if wanted is None else tensor.to(wanted[name].dtype))
        if fault:
            broken.append(f"{described(name)} ({fault} of {tensor.numel():,} values)")
    if broken:
        raise InputError(
            f"checkpoint {path} is broken: {listing(broken)}. The training has diverged, or the "
            "file is damaged: use an earlier checkpoint"
        )
    dead = [
        name
        for name, tensor in floats.items()
        if name.endswith("weight") and tensor.numel() and not tensor.any()
    ]
    vital = [name for name in dead if VITAL.fullmatch(timm_name(name) or "")]
    if vital:
        raise InputError(
            f"checkpoint {path}: all values of {listing(map(described, vital))} are zero, so that "
            "the features of all images are the same; use a checkpoint of a trained network"
        )
    if dead:
        print_log(
            f"checkpoint {path}: all values of {len(dead)} weights are zero, so that they have no "
            f"effect: {listing(map(described, dead))}",
            logger="current",
            level=logging.WARNING,
        )


def conversion(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Describe how the types of tensors change when they are copied into a network.

    Args:
        found: Tensors of the file.
        wanted: Tensors of the network by the same names.

    Returns:
        Text such as ``converted from bfloat16 to float32``, with the numbers of tensors if they
        have several types, and ``""`` if nothing changes.
    """
    pairs = Counter(
        (_name(found[name].dtype), _name(own.dtype))
        for name, own in wanted.items()
        if name in found and own.is_floating_point()
    )
    changes = {pair: count for pair, count in pairs.items() if pair[0] != pair[1]}
    if not changes:
        return ""
    targets = " and ".join(sorted({pair[1] for pair in changes}))
    if len(pairs) == 1:
        return f"converted from {next(iter(pairs))[0]} to {targets}"
    parts = [f"{source} ({count} tensors)" for (source, _), count in sorted(changes.items())]
    return f"converted from {' and '.join(parts)} to {targets}"


def _fault(tensor: Tensor, own: Tensor) -> str | None:
    if not _is_plain(tensor):
        kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        return f"of another kind ({kind} {type(tensor).__name__} on {tensor.device.type})"
    if own.is_floating_point() and tensor.dtype not in FLOATS:
        return f"of type {_name(tensor.dtype)}"
    if not own.is_floating_point() and tensor.is_complex():
        return f"of type {_name(tensor.dtype)}"
    return None


def _is_plain(tensor: Tensor) -> bool:
    whole = type(tensor) is Tensor or isinstance(tensor, torch.nn.Parameter)
    stored = tensor.layout == torch.strided and not tensor.is_meta
    return whole and stored and not tensor.is_quantized and not tensor.is_nested


def _fault_of_values(tensor: Tensor) -> str:
    counts = {"NaN": int(tensor.isnan().sum()), "infinite": int(tensor.isinf().sum())}
    return " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
