"""Photometric augmentation of a batch on the device, with separate parameters for each image."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.data.photometric.draw import PhotometricDraw

LUMA = (0.299, 0.587, 0.114)


def apply_to_batch(images: Tensor, drawn: PhotometricDraw) -> Tensor:
    """Apply drawn parameters to a batch.

    Args:
        images: (B, 3, H, W) RGB images on any device, uint8 or float in [0, 255].
        drawn: Parameters of the B images.

    Returns:
        (B, 3, H, W) float32 RGB images in [0, 255].
    """
    device = images.device
    out = jitter_(images.to(torch.float32, copy=True), drawn)
    gray = _on(device, drawn.gray)
    out = torch.where(_column(gray), _luma(out).expand_as(out), out).contiguous()
    out = blur_(out, drawn.blur)
    solarize = _on(device, drawn.solarize)
    return torch.where(_column(solarize) & (out >= 128), 255.0 - out, out)


def jitter_(images: Tensor, drawn: PhotometricDraw) -> Tensor:
    """Apply the colour jitter of drawn parameters in place.

    Args:
        images: (B, 3, H, W) float32 RGB images in [0, 255].
        drawn: Parameters of the B images.

    Returns:
        ``images`` itself.
    """
    factors = _on(images.device, drawn.factors.astype("float32"))
    # Each image has its own order, so each of the four steps groups the images by operation.
    for step in range(4):
        for number, operation in enumerate(_OPERATIONS):
            rows = (drawn.jitter & (drawn.order[:, step] == number)).nonzero()[0]
            if len(rows):
                index = _on(images.device, rows)
                images[index] = operation(images[index], _column(factors[index, number]))
    return images


def _on(device: torch.device, values) -> Tensor:
    return torch.as_tensor(values).to(device, non_blocking=True)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor).clamp(0, 255)


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = _luma(images).mean(dim=(1, 2, 3), keepdim=True)
    return (mean + (images - mean) * factor).clamp(0, 255)


def _saturation(images: Tensor, factor: Tensor) -> Tensor:
    luma = _luma(images)
    return (luma + (images - luma) * factor).clamp(0, 255)


def _hue(images: Tensor, shift: Tensor) -> Tensor:
    """Shift the hue by ``shift`` turns of the colour circle, in HSV as PIL does."""
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
    # Red, green and blue from HSV: value - chroma * clamp(min(k, 4 - k), 0, 1) with
    # k = (offset + 6 * hue) mod 6.
    channels = []
    for offset in (5, 3, 1):
        k = (offset + hue * 6) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, dim=1)


_OPERATIONS = (_brightness, _contrast, _saturation, _hue)


def _luma(images: Tensor) -> Tensor:
    red, green, blue = (images[:, c : c + 1] * weight for c, weight in enumerate(LUMA))
    return red + green + blue


def _column(x: Tensor) -> Tensor:
    return x.view(-1, 1, 1, 1)


def blur_(images: Tensor, sigma: np.ndarray) -> Tensor:
    """Blur a batch in place, with repeated border pixels as in Pillow.

    The standard deviations are on the host, so that reading them does not synchronise with a GPU.

    Args:
        images: (B, C, H, W) float32 images, contiguous.
        sigma: (B,) standard deviations in pixels; images with 0 remain unchanged.

    Returns:
        ``images`` itself.
    """
    rows = np.flatnonzero(sigma > 0)
    if len(rows) == 0:
        return images
    blur = _blur_on_cpu if images.device.type == "cpu" else _blur_by_convolution
    return blur(images, rows, sigma[rows])


def _blur_on_cpu(images: Tensor, rows: np.ndarray, sigma: np.ndarray) -> Tensor:
    # OpenCV filters rows while they are still in the cache, which is five times as fast as torch's
    # convolution with one group per channel.
    planes = images.numpy()
    for row, deviation in zip(rows, sigma, strict=True):
        radius = min(int(np.ceil(3 * deviation)), min(images.shape[-2:]) - 1)
        kernel = cv2.getGaussianKernel(2 * radius + 1, deviation, cv2.CV_32F)
        for plane in planes[row]:
            plane[...] = cv2.sepFilter2D(plane, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return images


def _blur_by_convolution(images: Tensor, rows: np.ndarray, sigma: np.ndarray) -> Tensor:
    radius = min(int(np.ceil(3 * sigma.max())), min(images.shape[-2:]) - 1)
    taps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (taps / sigma[:, None]) ** 2)
    kernel = torch.as_tensor(kernel / kernel.sum(axis=1, keepdims=True), dtype=images.dtype)
    index = torch.as_tensor(rows).to(images.device, non_blocking=True)
    n, channels, height, width = len(rows), *images.shape[1:]
    kernel = kernel.to(images.device, non_blocking=True)  # (n, taps)
    kernel = kernel.repeat_interleave(channels, dim=0, output_size=n * channels)
    flat = images[index].reshape(1, n * channels, height, width)
    flat = F.pad(flat, (radius, radius, 0, 0), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=n * channels)
    flat = F.pad(flat, (0, 0, radius, radius), mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, :, None], groups=n * channels)
    return images.index_copy_(0, index, flat.reshape(n, channels, height, width))
