"""Settings and results of the BAM loss, and the checks of its arguments."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bam_mm.distributed import world_size


@dataclass(frozen=True)
class LossSettings:
    """Everything that defines the loss besides the features and the number of views.

    Args:
        temperature: Softmax temperature of the student's attention.
        target_temperature: Softmax temperature of the balanced target, usually half of
            ``temperature``.
        sinkhorn_iters: Number of Sinkhorn iterations; 0 switches balancing off, and the target is a
            plain softmax.
        mask_positives: Whether the views of an image are excluded from what it attends to.
        top_k: Number of largest entries kept in an image's target; 0 keeps all. Without global
            normalisation it counts within each key view.
        global_normalisation: Whether softmax and balancing span all global views at once. False
            treats every pair (row view, key view) as a matrix of its own.
        target_views: Views whose balanced rows serve as targets: ``global``, or ``all`` for the
            local views too. A local view is never matched with a local view, so the targets of
            local views only reach the global views' attention. ``all`` needs the teacher's rows of
            all views.

    Raises:
        ValueError: If a temperature is not positive, or ``target_views`` is unknown.
    """

    temperature: float = 0.1
    target_temperature: float = 0.05
    sinkhorn_iters: int = 3
    mask_positives: bool = True
    top_k: int = 0
    global_normalisation: bool = True
    target_views: str = "global"

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.target_temperature > 0):
            raise ValueError(
                f"temperature={self.temperature}, target_temperature={self.target_temperature}: "
                "both must be positive (the paper: 0.1 and 0.05)"
            )
        if self.target_views not in ("global", "all"):
            raise ValueError(f"target_views={self.target_views!r}: choose 'global' or 'all'")


@dataclass(frozen=True)
class Matching:
    """Result of one evaluation of the loss.

    Attributes:
        loss: Scalar, with gradient.
        attention_entropy: Mean entropy of the student's attention rows in nats (paper, Fig. 3), or
            None if it was not requested.
        target_entropy: Mean entropy of the target rows in nats, or None.
    """

    loss: Tensor
    attention_entropy: Tensor | None = None
    target_entropy: Tensor | None = None


def check_shapes(
    student: Tensor,
    teacher: Tensor | None,
    *,
    num_views: int,
    num_global: int,
    settings: LossSettings,
) -> tuple[int, int]:
    """Check that features, views and settings fit each other.

    Args:
        student: (V * B, D) features.
        teacher: (G * B, D) or (V * B, D) features, or None.
        num_views: V, number of views of an image.
        num_global: G, number of global views.
        settings: Settings of the loss.

    Returns:
        Number of images in this process (B) and in all processes (N).

    Raises:
        ValueError: If the shapes do not fit the views, the teacher lacks the local views' rows
            while they are targets, fewer than two images are in the whole batch while positives are
            masked, or ``top_k`` exceeds the number of keys of a row.
    """
    if num_views < 2 or not 1 <= num_global <= num_views:
        raise ValueError(
            f"num_views={num_views}, num_global={num_global}: BAM needs at least two views, and "
            "between one and all of them global"
        )
    batch, rest = divmod(student.shape[0], num_views)
    if student.ndim != 2 or rest:
        raise ValueError(
            f"student has shape {tuple(student.shape)}: its rows must be num_views={num_views} "
            "times the images of the batch, view-major"
        )
    rows = student if teacher is None else teacher
    if rows.ndim != 2 or rows.shape[0] not in (num_global * batch, num_views * batch):
        raise ValueError(
            f"teacher has shape {tuple(rows.shape)}: with {batch} images it must have "
            f"{num_global * batch} rows (global views) or {num_views * batch} rows (all views)"
        )
    if settings.target_views == "all" and rows.shape[0] != num_views * batch:
        raise ValueError(
            f"teacher has {rows.shape[0]} rows, those of the {num_global} global views, but "
            f"target_views='all' takes targets from all {num_views} views: pass the teacher's "
            f"{num_views * batch} rows of all views (model.teacher_views=all), or choose "
            "target_views='global'"
        )
    if rows.shape[1] != student.shape[1]:
        raise ValueError(
            f"student has {student.shape[1]} dimensions and teacher {rows.shape[1]}: both must "
            "come from projectors of the same width"
        )
    total = batch * world_size()
    if total < 2 and settings.mask_positives:
        raise ValueError(
            f"a batch of {total} image: BAM attends to the other images of the batch, and there is "
            "none; use a batch of at least 2, better hundreds"
        )
    key_views = num_global if settings.global_normalisation else 1
    available = key_views * (total - settings.mask_positives)
    if not 0 <= settings.top_k <= available:
        raise ValueError(
            f"top_k={settings.top_k} is out of range: a row attends to {available} keys (global "
            f"views x other images{'' if key_views > 1 else ', each view by itself'}); choose at "
            "most that, or 0 to switch it off"
        )
    return batch, total


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which features of ``dtype`` are compared: float32, or float64."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
