"""Conversion between annotations in pixels and label distributions at patch resolution."""

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
    """Resize an annotation to patch resolution by its nearest pixels, and encode it one-hot.

    Args:
        annotation: (H, W) integer ids, 0 for background, 255 for void (taken as background).
        grid: (h, w), the size of the frame in patches.
        num_labels: Number of labels C; by default, the largest id of the annotation + 1.

    Returns:
        (C, h, w) float32 one-hot labels. The channel of an object that is lost at patch resolution
        is zero.

    Raises:
        ValueError: If the annotation is not an (H, W) array of integers in [0, num_labels).
    """
    # Decoded images are read-only arrays, whose memory tensors cannot share.
    annotation = torch.as_tensor(
        annotation.copy() if isinstance(annotation, np.ndarray) else annotation
    )
    if annotation.ndim != 2 or annotation.is_floating_point() or annotation.is_complex():
        raise ValueError(
            f"the annotation is {annotation.dtype} {tuple(annotation.shape)}: it must be (H, W) "
            "integers, one id per pixel; read an indexed PNG without converting it to RGB"
        )
    ids = annotation.long()
    ids = ids.masked_fill(ids == VOID, 0)
    low, high = int(ids.min()), int(ids.max())
    num_labels = high + 1 if num_labels is None else num_labels
    if low < 0 or high >= num_labels:
        raise ValueError(
            f"the annotation has ids from {low} to {high}, but num_labels={num_labels} allows 0 to "
            f"{num_labels - 1}; raise num_labels or renumber the annotation"
        )
    return F.one_hot(_resize_nearest(ids, grid), num_labels).permute(2, 0, 1).float()


@torch.no_grad()
def read_out(soft: Tensor, *, patch_size: int = 16, size: tuple[int, int] | None = None) -> Tensor:
    """Convert a label distribution at patch resolution to ids in pixels, as in DINO's script.

    The distribution is enlarged bilinearly by the patch size. Each channel with a positive value is
    scaled to [0, 1] by its own minimum and maximum, and each pixel gets the id of its largest
    channel (the first of equal ones). The ids are then resized to ``size`` by nearest neighbour.
    A positive channel that is constant takes the whole image, because the released script divides
    0 by 0 in this case, and NaN wins its argmax.

    Args:
        soft: (C, h, w) label distribution, C <= 256.
        patch_size: Side of a patch in pixels of the backbone's input.
        size: Size (H, W) of the result, that of the annotation; None keeps the size of the enlarged
            distribution.

    Returns:
        (H, W) uint8 ids.

    Raises:
        ValueError: If ``soft`` is not (C, h, w) with 1 <= C <= 256, or is not finite.
    """
    if soft.ndim != 3 or not 1 <= len(soft) <= 256:
        raise ValueError(
            f"soft labels {tuple(soft.shape)} must be (C, h, w) with 1 to 256 channels, because an "
            "indexed PNG holds 256 colours; leave out the labels that do not occur"
        )
    if not soft.isfinite().all():
        raise ValueError(
            "the soft labels are not all finite; check the features used for the propagation"
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
    # The pixel under the centre of each new pixel. If a centre lies between two pixels, rounding
    # decides. Accumulating the step like Pillow's nearest resize agrees with Pillow in this case
    # too.
    step = old / new
    return tuple(int(x) for x in accumulate(repeat(step, new - 1), initial=step * 0.5))
