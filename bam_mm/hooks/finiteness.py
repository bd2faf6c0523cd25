"""Losses, weights and metrics that are NaN or infinite."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.data.class_names import unwrap
from bam_mm.distributed import own_part, unwrap_model
from bam_mm.errors import SharedError, listing

RUNNING = ("running_mean", "running_var")
"""Last names of the buffers that training changes. Other buffers may hold infinities on purpose."""

CLASSWISE = "_precision"
"""End of the names of classes' precisions in mmdet's metrics, as in ``coco/cat_precision``."""

REMEDY = (
    "lower the learning rate (optim_wrapper.optimizer.lr), or clip gradients "
    "(optim_wrapper.clip_grad.max_norm=1.0)"
)
"""What to do about a training that diverges."""


class NotFiniteError(SharedError):
    """A loss, a weight or a metric is NaN or infinite."""


def not_finite(steps: list[dict[str, Tensor | float]]) -> list[list[str]]:
    """Find the losses that are not finite, with one read of the device.

    Args:
        steps: Losses of each iteration by name; tensors hold one number or several.

    Returns:
        The names of those that are not finite, for each iteration.
    """
    tensors = [v for losses in steps for v in losses.values() if isinstance(v, Tensor)]
    read = iter(_all_finite(tensors))
    return [
        [
            name
            for name, value in losses.items()
            if not (next(read) if isinstance(value, Tensor) else math.isfinite(value))
        ]
        for losses in steps
    ]


def weights_fault(model: nn.Module, iteration: int) -> str | None:
    """Check the parameters and running statistics of a model, with one read of the device.

    Args:
        model: The model; of sharded tensors, the parts on this process are checked.
        iteration: Number of iterations so far, for the message.

    Returns:
        The message if one of them is not finite, else None.
    """
    inner = unwrap_model(model)
    tensors = {
        **dict(inner.named_parameters()),
        **{n: b for n, b in inner.named_buffers() if n.rpartition(".")[2] in RUNNING},
    }
    finite = _all_finite([own_part(tensor.detach()) for tensor in tensors.values()])
    bad = [name for name, fine in zip(tensors, finite, strict=True) if not fine]
    if not bad:
        return None
    return (
        f"iteration {iteration}: {len(bad)} of the model's {len(tensors)} tensors are not finite "
        f"({listing(bad, 3)}), so no checkpoint is saved: {REMEDY}, and continue from the newest "
        "checkpoint with --resume"
    )


def check_metrics(what: str, metrics: Mapping[str, Any] | None, dataset: Any) -> None:
    """Check that the metrics of an evaluation are finite.

    COCO's -1, for sizes of which there is no instance, is finite. The precision of a class without
    an object is NaN (``classwise=True`` of mmdet's metrics): this is logged, if other classes have
    one.

    Args:
        what: Name of the evaluation, for the message.
        metrics: Metrics by name; values that are no single numbers are passed over.
        dataset: Data set of the evaluation, for the message.

    Raises:
        NotFiniteError: If one of them is not finite.
    """
    bad = [name for name, value in (metrics or {}).items() if _is_not_finite(value)]
    if not bad:
        return
    data = unwrap(dataset)
    absent = _classes_without_objects(metrics or {}, bad)
    if absent:
        verb, which = ("is", "this class") if len(absent) == 1 else ("are", "these classes")
        print_log(
            f"{what}: {listing(absent)} {verb} NaN, because {_place(data)} has no object of "
            f"{which}",
            logger="current",
            level=logging.WARNING,
        )
    bad = [name for name in bad if name not in absent]
    if not bad:
        return
    maps = (getattr(data, "data_prefix", None) or {}).get("seg_map_path")
    classes = (getattr(data, "metainfo", None) or {}).get("classes") or ()
    shown = f"{what}: {listing(bad)} {'is' if len(bad) == 1 else 'are'} not finite"
    if maps and classes:
        first = int(bool(getattr(data, "reduce_zero_label", False)))
        raise NotFiniteError(
            f"{shown}: no pixel of the {len(data):,} maps in {maps} belongs to one of the "
            f"{len(classes)} classes (values {first} to {first + len(classes) - 1}; others are "
            "ignored). Correct the maps, or set the classes and reduce_zero_label of the data set"
        )
    raise NotFiniteError(
        f"{shown}, computed from {len(data):,} items of {_place(data)}: check that their labels "
        "belong to the classes of the config, and that the weights are finite"
    )


def _all_finite(tensors: list[Tensor]) -> list[bool]:
    if not tensors:
        return []
    device = tensors[0].device
    flags = [tensor.isfinite().all().to(device, non_blocking=True) for tensor in tensors]
    return torch.stack(flags).tolist()


def _is_not_finite(value: Any) -> bool:
    try:
        return not math.isfinite(value)
    except (TypeError, ValueError, RuntimeError):  # No single number, such as a confusion matrix.
        return False


def _classes_without_objects(metrics: Mapping[str, Any], bad: list[str]) -> list[str]:
    """Return the classes' precisions that are NaN, if another one of the same metric is finite."""
    groups: dict[str, list[str]] = {}
    for name in metrics:
        if name.endswith(CLASSWISE):
            groups.setdefault(name.partition("/")[0], []).append(name)
    return [
        name
        for names in groups.values()
        if not all(name in bad for name in names)
        for name in names
        if name in bad and math.isnan(metrics[name])
    ]


def _place(dataset: Any) -> str:
    places = (getattr(dataset, name, None) for name in ("ann_file", "img_prefix", "data_root"))
    return next((str(place) for place in places if place), type(dataset).__name__)
