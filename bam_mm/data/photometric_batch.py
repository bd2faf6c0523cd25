"""Photometric augmentation of a batch on the device, each image with its own parameters."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.data.photometric import PhotometricDraw

_LUMA = (0.299, 0.587, 0.114)


def apply_to_batch(images: Tensor, drawn: PhotometricDraw) -> Tensor:
    """Apply a draw to a batch.

    Args:
        images: (B, 3, H, W) RGB on any device, uint8 or float in [0, 255].
        drawn: Parameters of B images.

    Returns:
        (B, 3, H, W) float32 in [0, 255].
    """
    device = images.device
    out = images.float()
    out = _jitter(out, drawn, device)
    gray = torch.as_tensor(drawn.gray, device=device)
    out = torch.where(_column(gray), _luma(out).expand_as(out), out)
    out = _blur(out, torch.as_tensor(drawn.blur, dtype=torch.float32, device=device))
    solarize = torch.as_tensor(drawn.solarize, device=device)
    return torch.where(_column(solarize) & (out >= 128), 255.0 - out, out)


def _jitter(images: Tensor, drawn: PhotometricDraw, device: torch.device) -> Tensor:
    factors = torch.as_tensor(drawn.factors, dtype=torch.float32, device=device)
    # Each image has its own order, so at each of the four steps the images split by operation.
    for step in range(4):
        out = images.clone()
        for operation, act in enumerate(_OPERATIONS):
            rows = (drawn.jitter & (drawn.order[:, step] == operation)).nonzero()[0]
            if len(rows):
                index = torch.as_tensor(rows, device=device)
                out[index] = act(images[index], _column(factors[index, operation]))
        images = out
    return images


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor).clamp(0, 255)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = _luma(images).mean(dim=(1, 2, 3), keepdim=True)
    return (mean + (images - mean) * factor).clamp(0, 255)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    luma = _luma(images)
    return (luma + (images - luma) * factor).clamp(0, 255)


def _hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the colour circle by ``shift`` turns, in HSV as PIL does."""
    red, green, blue = images.unbind(1)
    value, _ = images.max(dim=1)
    chroma = value - images.min(dim=1).values
    safe = chroma.clamp_min(1e-6)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = (hue / 6 + shift.flatten(1)[..., None]) % 1.0
    # The channel with offset n of the HSV hexagon: value - chroma * clamp(min(k, 4 - k), 0, 1).
    channels = []
    for offset in (5, 3, 1):
        k = (offset + hue * 6) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, dim=1)


_OPERATIONS = (_brightness, _contrast, _saturation, _hue)


def _blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Separable Gaussian blur with one standard deviation (in pixels) an image; 0 leaves it."""
    rows = (sigma > 0).nonzero().flatten()
    if len(rows) == 0:
        return images
    sigma = sigma[rows]
    radius = int(torch.ceil(3 * sigma.max()))
    radius = min(radius, min(images.shape[-2:]) - 1)
    taps = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)  # (n, taps)
    chosen = images[rows]
    n, channels, height, width = chosen.shape
    kernel = kernel.repeat_interleave(channels, dim=0)
    flat = chosen.reshape(1, n * channels, height, width)
    # PIL repeats the border pixel.
    flat = F.pad(flat, (radius, radius, 0, 0), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=n * channels)
    flat = F.pad(flat, (0, 0, radius, radius), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=n * channels)
    return images.index_copy(0, rows, flat.reshape(n, channels, height, width))


def _luma(images: Tensor) -> Tensor:
    weights = images.new_tensor(_LUMA).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _column(x: Tensor) -> Tensor:
    return x.view(-1, 1, 1, 1)
