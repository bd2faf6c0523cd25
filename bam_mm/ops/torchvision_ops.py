"""The functions of ``mmcv._ext`` that torchvision also has, called as mmcv.ops calls them.

float16 and bfloat16 are computed in float32 and cast back. Every other operator of mmcv exists by
name, because mmcv.ops looks for it at import, and raises an error at its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from bam_mm.errors import InputError

__all__ = [
    "get_compiler_version",
    "get_compiling_cuda_version",
    "nms",
    "roi_align_backward",
    "roi_align_forward",
]

NOT_COMPILED = "not compiled: bam_mm provides nms and roi_align of torchvision"
HALF_TYPES = (torch.float16, torch.bfloat16)
AVERAGE = 1  # mmcv's number of the pooling mode; 0 is the maximum


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Suppress every box that overlaps a kept box of a higher score.

    Args:
        boxes: ``(N, 4)``, as x1, y1, x2, y2 in pixels.
        scores: ``(N,)``.
        iou_threshold: Boxes with a larger intersection over union are suppressed.
        offset: 0 or 1; width and height of a box are ``x2 - x1 + offset``, ``y2 - y1 + offset``.

    Returns:
        Indices of the kept boxes, ``(K,)``, by descending score.
    """
    dtype = _computed_in(torch.promote_types(boxes.dtype, scores.dtype))
    boxes = boxes.to(dtype)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    # torchvision compares float32 overlaps with the float64 threshold, so that an overlap of
    # exactly 0.3 would exceed 0.3. The rounded threshold keeps "larger" strict, as in mmcv.
    threshold = torch.tensor(iou_threshold, dtype=dtype).item()
    return torch.ops.torchvision.nms(boxes, scores.to(dtype), threshold)


@torch.no_grad()
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Average the features in each bin of each region of interest, in place into ``output``.

    A region of negative width or height holds no sampling point if ``aligned`` is true and
    ``sampling_ratio`` is 0; its output is 0.

    Args:
        input: Features, ``(B, C, H, W)``, of any memory layout.
        rois: Regions, ``(N, 5)``, as index in the batch and x1, y1, x2, y2 in pixels of the image.
        output: Receives the averages, ``(N, C, aligned_height, aligned_width)``.
        argmax_y: Unused; mmcv's maximum pooling writes to it.
        argmax_x: Unused; mmcv's maximum pooling writes to it.
        aligned_height: Number of bins along the height.
        aligned_width: Number of bins along the width.
        spatial_scale: Pixels of the features per pixel of the image.
        sampling_ratio: Sampling points per bin and axis; 0 for one per pixel of the features.
        pool_mode: 1 for the average, the only mode here.
        aligned: Shift the regions by half a pixel, so that pixel centres have whole coordinates.

    Raises:
        InputError: ``pool_mode`` is not 1, or, on the CPU, a region is not finite or names no
            image of the batch.
    """
    _check_pool_mode(pool_mode)
    dtype = _computed_in(input.dtype)
    # mmcv's compiled operator reads the memory of a channels-last input as if it were contiguous
    # (open-mmlab/mmcv issue 2203). torchvision's follows the strides, and so does this one.
    pooled = torch.ops.torchvision.roi_align(
        input.to(dtype),
        _checked_rois(rois, input.size(0), dtype, sampling_ratio, aligned),
        spatial_scale,
        aligned_height,
        aligned_width,
        sampling_ratio,
        aligned,
    )
    output.copy_(pooled)


@torch.no_grad()
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add the gradient of the features to ``grad_input``, in place.

    Args:
        grad_output: Gradient of the averages, ``(N, C, aligned_height, aligned_width)``, of any
            memory layout.
        rois: See ``roi_align_forward``, as all arguments that are not described here.
        argmax_y: Unused.
        argmax_x: Unused.
        grad_input: Receives the gradient of the features, ``(B, C, H, W)``; zeros at first.
        aligned_height: Number of bins along the height.
        aligned_width: Number of bins along the width.
        spatial_scale: Pixels of the features per pixel of the image.
        sampling_ratio: Sampling points per bin and axis.
        pool_mode: 1 for the average.
        aligned: Whether regions are shifted by half a pixel.

    Raises:
        InputError: As in ``roi_align_forward``.
    """
    _check_pool_mode(pool_mode)
    dtype = _computed_in(grad_output.dtype)
    gradient = torch.ops.torchvision._roi_align_backward(
        grad_output.to(dtype),
        _checked_rois(rois, grad_input.size(0), dtype, sampling_ratio, aligned),
        spatial_scale,
        aligned_height,
        aligned_width,
        *grad_input.shape,
        sampling_ratio,
        aligned,
    )
    grad_input.add_(gradient.to(grad_input.dtype))


def get_compiler_version() -> str:
    """Return, for reports of the environment, that no compiler was used."""
    return NOT_COMPILED


def get_compiling_cuda_version() -> str:
    """Return, for reports of the environment, that nothing was compiled for CUDA."""
    return NOT_COMPILED


def __getattr__(name: str) -> Callable[..., NoReturn]:
    """Return a function that raises an error in place of another operator of mmcv."""
    if name.startswith("_"):
        raise AttributeError(f"module 'mmcv._ext' has no attribute {name!r}")

    def unavailable(*args: object, **kwargs: object) -> NoReturn:
        raise InputError(_unavailable(f"mmcv's operator {name!r}"))

    unavailable.__name__ = unavailable.__qualname__ = name
    return unavailable


def _unavailable(what: str) -> str:
    return (
        f"{what} needs mmcv's compiled operators; without them there are only nms and the average "
        "of roi_align. Compile them with `make ops` in a checkout, or `pip install setuptools "
        "wheel ninja && MMCV_WITH_OPS=1 pip install --no-build-isolation --no-deps --no-cache-dir "
        f"--force-reinstall {_distribution()}` (needs a compiler, and nvcc for the GPU)."
    )


def _distribution() -> str:
    """Return which of the two distributions of mmcv is installed, and in which version."""
    for name in ("mmcv", "onedl-mmcv"):
        try:
            return f"{name}=={version(name)}"
        except PackageNotFoundError:
            continue
    return "onedl-mmcv"


def _computed_in(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in HALF_TYPES else dtype


def _check_pool_mode(pool_mode: int) -> None:
    if pool_mode != AVERAGE:
        raise InputError(_unavailable("roi_align with pool_mode='max'"))


def _checked_rois(
    rois: Tensor, images: int, dtype: torch.dtype, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Return the regions in the type of the features, as torchvision can process them."""
    # torchvision would read foreign memory. On a GPU the check would wait for the device.
    if rois.device.type == "cpu" and len(rois):
        if not rois.isfinite().all():
            raise InputError(
                "roi_align received a region of interest with a coordinate that is not finite. "
                "Check the boxes: the training may have diverged."
            )
        indices = rois[:, 0].long()
        wrong = indices[(indices < 0) | (indices >= images)]
        if len(wrong):
            raise InputError(
                f"roi_align received a region of interest with batch index {wrong[0].item()}, and "
                f"the batch has {images} images. The first column of rois is the index, from 0."
            )
    rois = rois.to(dtype)
    if aligned and sampling_ratio <= 0:
        # A negative size makes a negative number of sampling points, which torchvision's CPU
        # operator cannot allocate. An empty region has none either, and the same output: 0.
        ends = torch.maximum(rois[:, 3:], rois[:, 1:3])
        rois = torch.cat([rois[:, :3], ends], dim=1)
    return rois
