"""Arguments of the loss: what fits together."""

from __future__ import annotations

from torch import Tensor

from bam_mm.distributed import world_size


def check_arguments(
    student: Tensor,
    teacher: Tensor,
    *,
    num_views: int,
    num_global: int,
    temperature: float,
    target_temperature: float,
    mask_positives: bool,
    top_k: int,
    key_views: int,
) -> tuple[int, int]:
    """Check the arguments of :func:`~bam_mm.losses.bam_loss`.

    Args:
        student: As there.
        teacher: As there, or the student's rows where there is no teacher.
        num_views: As there.
        num_global: As there.
        temperature: As there.
        target_temperature: As there.
        mask_positives: As there.
        top_k: As there.
        key_views: Global views whose keys share a softmax.

    Returns:
        Images of this process, and of all processes.

    Raises:
        ValueError: As there.
    """
    if num_views < 2 or not 1 <= num_global <= num_views:
        raise ValueError(
            f"num_views={num_views}, num_global={num_global}: BAM needs at least two views, and "
            "between one and all of them global"
        )
    if not (temperature > 0 and target_temperature > 0):
        raise ValueError(
            f"temperature={temperature}, target_temperature={target_temperature}: both must be "
            "positive (the paper: 0.1 and 0.05)"
        )
    batch, rest = divmod(student.shape[0], num_views)
    if student.ndim != 2 or rest:
        raise ValueError(
            f"student has shape {tuple(student.shape)}: its rows must be num_views={num_views} "
            "times the images of the batch, view-major"
        )
    if teacher.ndim != 2 or teacher.shape[0] not in (num_global * batch, num_views * batch):
        raise ValueError(
            f"teacher has shape {tuple(teacher.shape)}: with {batch} images it must have "
            f"{num_global * batch} rows (global views) or {num_views * batch} rows (all views)"
        )
    if teacher.shape[1] != student.shape[1]:
        raise ValueError(
            f"student has {student.shape[1]} dimensions and teacher {teacher.shape[1]}: both must "
            "come from projectors of the same width"
        )
    total = batch * world_size()
    if total < 2 and mask_positives:
        raise ValueError(
            f"a batch of {total} image: BAM attends to the other images of the batch, and there is "
            "none; use a batch of at least 2, better hundreds"
        )
    available = key_views * (total - 1 if mask_positives else total)
    if not 0 <= top_k <= available:
        raise ValueError(
            f"top_k={top_k} is out of range: a row attends to {available} keys (global views x "
            "other images"
            f"{'' if key_views > 1 else ', each view by itself'}); choose at most that, or 0 to "
            "switch it off"
        )
    return batch, total
