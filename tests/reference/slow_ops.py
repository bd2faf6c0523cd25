"""Non-maximum suppression and RoIAlign by their definitions, in loops.

Positions are computed in the type of the boxes, and sums in float64.
"""

import math

import numpy as np


def overlap(first, second, offset):
    """Return the intersection over union of two boxes; 0 where they do not meet."""
    width = min(first[2], second[2]) - max(first[0], second[0]) + offset
    height = min(first[3], second[3]) - max(first[1], second[1]) + offset
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0] + offset) * (b[3] - b[1] + offset) for b in (first, second)]
    return width * height / (sum(areas) - width * height)


def slow_nms(boxes, scores, iou_threshold, offset):
    """Return the indices of the kept boxes, the highest score first."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(overlap(boxes[i], boxes[k], offset) <= iou_threshold for k in kept):
            kept.append(i)
    return kept


def assert_valid_suppression(kept, boxes, scores, iou_threshold, offset):
    """Check a result where scores tie, so that several orders are right."""
    order = [scores[k] for k in kept]
    assert order == sorted(order, reverse=True) and len(set(kept)) == len(kept)
    for place, k in enumerate(kept):
        for earlier in kept[:place]:
            assert overlap(boxes[k], boxes[earlier], offset) <= iou_threshold
    for i in set(range(len(boxes))) - set(kept):
        above = [k for k in kept if scores[k] >= scores[i]]
        assert any(overlap(boxes[i], boxes[k], offset) > iou_threshold for k in above)


def slow_roi_align(features, rois, output_size, spatial_scale, sampling_ratio, aligned):
    """Average bilinear samples in the bins of each region.

    Args:
        features: ``(B, C, H, W)``.
        rois: ``(N, 5)``, a float32 or float64 array.

    Returns:
        ``(N, C, *output_size)``.
    """
    output = np.zeros((len(rois), features.shape[1], *output_size))
    for n, c, p, q, b, weights in _bins(
        features.shape, rois, output_size, spatial_scale, sampling_ratio, aligned
    ):
        output[n, c, p, q] = (weights * features[b, c]).sum()
    return output


def slow_roi_align_gradient(
    gradient, shape, rois, output_size, spatial_scale, sampling_ratio, aligned
):
    """Scatter the gradient of ``slow_roi_align`` to the features, with the same weights."""
    scattered = np.zeros(shape)
    for n, c, p, q, b, weights in _bins(
        shape, rois, output_size, spatial_scale, sampling_ratio, aligned
    ):
        scattered[b, c] += weights * gradient[n, c, p, q]
    return scattered


def _bins(shape, rois, output_size, spatial_scale, sampling_ratio, aligned):
    """Yield each bin of each region and channel, with its weights of the pixels, ``(H, W)``."""
    for n, (image, x1, y1, x2, y2) in enumerate(rois):
        rows = _axis_weights(
            y1, y2, output_size[0], spatial_scale, sampling_ratio, aligned, shape[2]
        )
        columns = _axis_weights(
            x1, x2, output_size[1], spatial_scale, sampling_ratio, aligned, shape[3]
        )
        for c in range(shape[1]):
            for p in range(output_size[0]):
                for q in range(output_size[1]):
                    yield n, c, p, q, int(image), np.outer(rows[p], columns[q])


def _axis_weights(start, end, bins, spatial_scale, sampling_ratio, aligned, pixels):
    """Return the weight of each pixel of an axis in each bin, ``(bins, pixels)``."""
    start = start * spatial_scale - (0.5 if aligned else 0)
    end = end * spatial_scale - (0.5 if aligned else 0)
    size = end - start if aligned else max(end - start, type(start)(1))
    step = size / bins
    samples = sampling_ratio or math.ceil(step)
    weights = np.zeros((bins, pixels))
    for p in range(bins):
        for s in range(samples):
            position = start + p * step + (s + 0.5) * step / samples
            if -1 <= position <= pixels:
                position = min(max(position, 0), pixels - 1)
                for i in range(pixels):
                    weights[p, i] += max(0, 1 - abs(position - i)) / samples
    return weights
