"""Between annotations in pixels and label distributions at patch resolution."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, repeat

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

VOID = 255
"""Pixels of an annotation with this value belong to no object."""


def first_frame_labels(
    annotation: Tensor | np.ndarray, grid: tuple[int, int], *, num_labels: int | None = None
) -> Tensor:
    """Bring an annotation to patch resolution: the nearest pixel of each patch, one-hot.

    Args:
        annotation: (H, W) integers, 0 background, 255 void (taken as background).
        grid: (h, w), the frame in patches.
        num_labels: C; by default the largest id of the annotation + 1.

    Returns:
        (C, h, w) float32. The channel of an object that is lost at patch resolution is zero.

    Raises:
        ValueError: If the annotation is not an (H, W) array of integers in [0, num_labels).
    """
    # Images arrive as read-only arrays, which tensors cannot share.
    annotation = torch.as_tensor(
        annotation.copy() if isinstance(annotation, np.ndarray) else annotation
    )
    if annotation.ndim != 2 or annotation.is_floating_point() or annotation.is_complex():
        raise ValueError(
            f"the annotation is {annotation.dtype} {tuple(annotation.shape)}: it must be (H, W) "
            "integers, one id a pixel; read an indexed PNG without converting it to RGB"
        )
    ids = annotation.long()
    ids = ids.masked_fill(ids == VOID, 0)
    low, high = int(ids.min()), int(ids.max())
    num_labels = high + 1 if num_labels is None else num_labels
    if low < 0 or high >= num_labels:
        raise ValueError(
            f"the annotation has ids from {low} to {high}, but num_labels={num_labels} admits 0 to "
            f"{num_labels - 1}; raise num_labels or renumber the annotation"
        )
    return F.one_hot(_resize_nearest(ids, grid), num_labels).permute(2, 0, 1).float()


@torch.no_grad()
def read_out(soft: Tensor, *, patch_size: int = 16, size: tuple[int, int] | None = None) -> Tensor:
    """Turn a label distribution at patch resolution into ids in pixels, as DINO's script does.

    Bilinear times the patch size; each channel with a positive value scaled to [0, 1] by its own
    minimum and maximum; the largest channel of each pixel (the first of equals); the nearest pixel
    to come to ``size``. A positive channel that is the same everywhere takes the whole image: the
    released script divides 0 by 0 there, and that wins its argmax.

    Args:
        soft: (C, h, w), C <= 256.
        patch_size: Pixels of the backbone's input that a patch stands for, down and across.
        size: (H, W) of the result, that of the annotation; None keeps h, w times the patch size.

    Returns:
        (H, W) uint8 ids.

    Raises:
        ValueError: If ``soft`` is not (C, h, w) with 1 <= C <= 256, or is not finite.
    """
    if soft.ndim != 3 or not 1 <= len(soft) <= 256:
        raise ValueError(
            f"soft labels {tuple(soft.shape)} must be (C, h, w) with 1 to 256 channels, the number "
            "of colours of an indexed PNG"
        )
    if not soft.isfinite().all():
        raise ValueError(
            "the soft labels are not all finite; check the features that they were propagated with"
        )
    soft = soft.to(torch.promote_types(soft.dtype, torch.float32))
    soft = F.interpolate(soft[None], scale_factor=patch_size, mode="bilinear", align_corners=False)[
        0
    ]
    low, high = (getattr(soft, name)((1, 2), keepdim=True) for name in ("amin", "amax"))
    scaled = torch.where(high > 0, (soft - low) / (high - low), soft)
    scaled = scaled.masked_fill_((high > 0) & (high == low), torch.inf)
    ids = scaled.argmax(0).to(torch.uint8)
    return ids if size is None else _resize_nearest(ids, size)


def _resize_nearest(ids: Tensor, size: tuple[int, int]) -> Tensor:
    rows, columns = (
        torch.tensor(_nearest_pixels(old, new), device=ids.device)
        for old, new in zip(ids.shape, size, strict=True)
    )
    return ids[rows[:, None], columns]


@lru_cache(maxsize=64)
def _nearest_pixels(old: int, new: int) -> tuple[int, ...]:
    # The pixel under each new pixel's centre. Where a centre falls between two pixels, rounding
    # decides; adding up the step as Pillow's nearest resize does agrees with it even there.
    step = old / new
    return tuple(int(x) for x in accumulate(repeat(step, new - 1), initial=step * 0.5))
