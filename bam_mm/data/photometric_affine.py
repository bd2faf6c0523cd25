"""Photometric augmentation of a batch with one affine colour map an image.

Colour jitter is a chain of four operations with clamps between them, one of them (hue, in HSV) not
even linear. Here the chain runs on a small grid of each image's own pixels only, and the affine map
nearest to what it did there, in least squares, recolours the whole image: one matrix product,
whatever was drawn, with the change to grey and the normalisation in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bam_mm.data.blur_batch import blur_
from bam_mm.data.photometric import PhotometricDraw
from bam_mm.data.photometric_batch import LUMA, jitter_

GRID = 16
"""Pixels along a side of the grid that the map is fitted to."""
_RIDGE = 1.0
"""Squared grey levels: along colours that spread less, the map is the simple one (see below)."""


def fit_colour_maps(images: Tensor, drawn: PhotometricDraw) -> tuple[Tensor, Tensor]:
    """Affine maps nearest to a draw's colour jitter, and its change to grey.

    With x the pixels of an image's grid and y what the jitter makes of them, A and b minimise
    ``mean |A x + b - y|^2 + ridge * |A - s|^2`` where s, brightness times contrast, stands in for
    what the grid says nothing about (the colours of a grey image). So the mean of each channel is
    the jitter's own over the grid.

    Args:
        images: (B, 3, H, W) RGB on any device, uint8 or float in [0, 255].
        drawn: Parameters of B images.

    Returns:
        A, (B, 3, 3), and b, (B, 3, 1), float32, for RGB columns; their values are to be clamped to
        [0, 255].
    """
    device, n = images.device, len(images)
    rows, columns = (
        (torch.arange(min(GRID, side), device=device) + 0.5) * side / min(GRID, side)
        for side in images.shape[-2:]
    )
    grid = images[:, :, rows.long()[:, None], columns.long()].float().contiguous()
    x = grid.flatten(2)
    y = jitter_(grid.clone(), drawn).flatten(2)
    x_mean, y_mean = x.mean(2, keepdim=True), y.mean(2, keepdim=True)
    simple = torch.as_tensor(drawn.factors[:, :2].prod(axis=1), dtype=torch.float32)
    simple = simple.to(device, non_blocking=True).view(n, 1, 1)
    eye = torch.eye(3, device=device)
    centred = x - x_mean
    covariance = centred @ centred.mT / x.shape[2] + _RIDGE * eye
    rest = (y - y_mean - simple * centred) @ centred.mT / x.shape[2]
    # The inverse without a check: the check would wait for the GPU, the ridge makes it needless.
    inverse = torch.linalg.inv_ex(covariance).inverse
    matrix = simple * eye + rest @ inverse
    offset = y_mean - matrix @ x_mean
    jitter = torch.as_tensor(drawn.jitter).to(device, non_blocking=True).view(n, 1, 1)
    matrix = torch.where(jitter, matrix, eye)
    offset = torch.where(jitter, offset, torch.zeros_like(offset))
    gray = torch.as_tensor(drawn.gray).to(device, non_blocking=True).view(n, 1, 1)
    luma = torch.tensor(LUMA).to(device, non_blocking=True).expand(3, 3)
    return torch.where(gray, luma @ matrix, matrix), torch.where(gray, luma @ offset, offset)


def augment_affine(
    images: Tensor,
    drawn: PhotometricDraw,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """Apply a draw to a batch and normalise.

    Clamps, blur and solarization act on values that are normalised already: each of them commutes
    with a scale and an offset of the channel.

    Args:
        images: (B, 3, H, W) RGB on any device, uint8 or float in [0, 255].
        drawn: Parameters of B images.
        mean: Of each channel.
        std: Likewise.

    Returns:
        (B, 3, H, W) float32, ``(augmented - mean) / std``.
    """
    matrix, offset = fit_colour_maps(images, drawn)
    centre, scale = (
        torch.tensor(v, dtype=torch.float32).to(images.device, non_blocking=True).view(3, 1)
        for v in (mean, std)
    )
    out = torch.baddbmm((offset - centre) / scale, matrix / scale, images.flatten(2).float())
    out = out.view(images.shape)
    for channel, (m, s) in enumerate(zip(mean, std, strict=True)):
        out[:, channel].clamp_(-m / s, (255 - m) / s)
    blur_(out, drawn.blur)
    rows = drawn.solarize.nonzero()[0]
    if len(rows):
        # The smaller of a value and its inverse is the inverse from the middle up.
        index = torch.as_tensor(rows).to(images.device, non_blocking=True)
        chosen = out[index]
        inverse = ((255 - 2 * centre) / scale)[..., None] - chosen
        out.index_copy_(0, index, torch.minimum(chosen, inverse))
    return out
