"""Random cases of non-maximum suppression and RoIAlign, the same in every test."""

from dataclasses import dataclass

import torch
from torch import Tensor

COUNT = 200
TYPES = (torch.float32, torch.float64)


@dataclass
class NmsCase:
    """Arguments of ``nms``."""

    boxes: Tensor
    scores: Tensor
    iou_threshold: float
    offset: int

    @property
    def tied(self):
        """Whether two scores are equal."""
        return len(self.scores.unique()) < len(self.scores)


@dataclass
class RoiAlignCase:
    """Arguments of ``roi_align``, and a gradient of its result."""

    features: Tensor
    rois: Tensor
    gradient: Tensor
    output_size: tuple[int, int]
    spatial_scale: float
    sampling_ratio: int
    aligned: bool

    @property
    def settings(self):
        """The arguments after the tensors, in order."""
        return (self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned)


def nms_case(seed):
    """Draw boxes in and around an image of 100 x 100 pixels; every 20th case has none."""
    draw = torch.Generator().manual_seed(seed)
    count = 0 if seed % 20 == 19 else _integer(draw, 1, 60)
    start = torch.rand(count, 2, generator=draw, dtype=torch.float64) * 90 - 20
    size = torch.rand(count, 2, generator=draw, dtype=torch.float64) * 50 + 10
    kind = torch.rand(count, 2, generator=draw)
    size[kind < 0.05] = 0
    size[kind > 0.95] *= -1
    boxes = torch.cat([start, start + size], dim=1)
    if seed % 3 == 0:
        # Whole pixels on a coarse grid: overlaps are equal to thresholds, and boxes to each other.
        boxes = (boxes / 10).round() * 10
    scores = torch.randperm(count, generator=draw) / 64
    if seed % 4 == 1:
        scores = (scores * 8).round() / 8
    dtype = TYPES[seed % 2]
    threshold = (0.0, 0.3, 0.5, 0.7, 1.0)[seed % 5]
    return NmsCase(boxes.to(dtype), scores.to(dtype), threshold, _integer(draw, 0, 1))


def roi_align_case(seed):
    """Draw features and regions that may leave the image; every 20th case has no region.

    Regions of negative size occur only without ``aligned``, where they count as one pixel.
    """
    draw = torch.Generator().manual_seed(1000 + seed)
    dtype = TYPES[seed % 2]
    images, channels = _integer(draw, 1, 3), _integer(draw, 1, 3)
    height, width = _integer(draw, 1, 12), _integer(draw, 1, 12)
    count = 0 if seed % 20 == 19 else _integer(draw, 1, 6)
    size = (_integer(draw, 1, 4), _integer(draw, 1, 4))
    scale = (1.0, 0.5, 0.25, 1 / 16, 0.3)[seed % 5]
    aligned = bool(_integer(draw, 0, 1))
    extent = torch.tensor([width, height]) / scale
    corners = (torch.rand(count, 2, 2, generator=draw, dtype=torch.float64) * 1.8 - 0.4) * extent
    kind = torch.rand(count, 2, generator=draw)
    corners[:, 1] = torch.where(kind < 0.1, corners[:, 0], corners[:, 1])
    if aligned:
        corners = corners.sort(dim=1).values
    index = torch.randint(0, images, (count, 1), generator=draw)
    return RoiAlignCase(
        features=torch.randn(images, channels, height, width, generator=draw).to(dtype),
        rois=torch.cat([index, corners.flatten(1)], dim=1).to(dtype),
        gradient=torch.randn(count, channels, *size, generator=draw).to(dtype),
        output_size=size,
        spatial_scale=scale,
        sampling_ratio=_integer(draw, 0, 2),
        aligned=aligned,
    )


def forward(extension, case, **tensors):
    """Call ``roi_align_forward`` of an extension as mmcv does; ``tensors`` replace the case's."""
    features, rois = tensors.get("features", case.features), tensors.get("rois", case.rois)
    size, scale, ratio, aligned = case.settings
    output = features.new_zeros(len(rois), features.size(1), *size)
    none = features.new_zeros(0)
    extension.roi_align_forward(
        features,
        rois,
        output,
        none,
        none,
        aligned_height=size[0],
        aligned_width=size[1],
        spatial_scale=scale,
        sampling_ratio=ratio,
        pool_mode=1,
        aligned=aligned,
    )
    return output


def backward(extension, case, **tensors):
    """Call ``roi_align_backward`` of an extension as mmcv does."""
    gradient, rois = tensors.get("gradient", case.gradient), tensors.get("rois", case.rois)
    size, scale, ratio, aligned = case.settings
    scattered = gradient.new_zeros(case.features.shape)
    none = gradient.new_zeros(0)
    extension.roi_align_backward(
        gradient,
        rois,
        none,
        none,
        scattered,
        aligned_height=size[0],
        aligned_width=size[1],
        spatial_scale=scale,
        sampling_ratio=ratio,
        pool_mode=1,
        aligned=aligned,
    )
    return scattered


def difference(got, expected):
    """Return the largest difference, relative to the largest expected magnitude (at least 1)."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    assert got.shape == expected.shape
    if not expected.numel():
        return 0.0
    largest = (got.double().cpu() - expected.cpu()).abs().max()
    return (largest / expected.abs().max().clamp(min=1)).item()


def _integer(draw, low, high):
    return torch.randint(low, high + 1, (), generator=draw).item()
