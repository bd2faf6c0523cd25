"""Non-maximum suppression and RoIAlign by their definitions, in loops.

RoIAlign is computed in the type of its input, one term after the other: where terms cancel, a sum
in float32 depends on their order.
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
        rois: ``(N, 5)``, of the type of the features.

    Returns:
        ``(N, C, *output_size)``.
    """
    output = np.zeros((len(rois), features.shape[1], *output_size), features.dtype)
    for n, c, p, q, terms in _bins(
        features.shape, rois, output_size, spatial_scale, sampling_ratio, aligned
    ):
        for pixel, weight, samples in terms:
            output[n, c, p, q] += features[pixel] * weight / samples
    return output


def slow_roi_align_gradient(
    gradient, shape, rois, output_size, spatial_scale, sampling_ratio, aligned
):
    """Scatter the gradient of ``slow_roi_align`` to the features, with the same weights."""
    scattered = np.zeros(shape, gradient.dtype)
    for n, c, p, q, terms in _bins(
        shape, rois, output_size, spatial_scale, sampling_ratio, aligned
    ):
        for pixel, weight, samples in terms:
            scattered[pixel] += gradient[n, c, p, q] * weight / samples
    return scattered


def _bins(shape, rois, output_size, spatial_scale, sampling_ratio, aligned):
    """Yield each bin of each region and channel, with its terms.

    A term is a pixel of the features, its weight in one sample, and the number of samples.
    """
    number = rois.dtype.type
    for n, (image, x1, y1, x2, y2) in enumerate(rois):
        rows = _samples(y1, y2, output_size[0], spatial_scale, sampling_ratio, aligned, shape[2])
        columns = _samples(x1, x2, output_size[1], spatial_scale, sampling_ratio, aligned, shape[3])
        for c in range(shape[1]):
            for p in range(output_size[0]):
                for q in range(output_size[1]):
                    samples = number(len(rows[p]) * len(columns[q]))
                    yield (
                        n,
                        c,
                        p,
                        q,
                        [
                            ((int(image), c, y, x), weight_y * weight_x, samples)
                            for row in rows[p]
                            for column in columns[q]
                            for y, weight_y in row
                            for x, weight_x in column
                        ],
                    )


def _samples(start, end, bins, spatial_scale, sampling_ratio, aligned, pixels):
    """Return, for each bin of an axis, its samples: each a list of two pixels with their weights.

    A sample outside the features is an empty list.
    """
    number = type(start)
    half = number(0.5 if aligned else 0)
    start = start * number(spatial_scale) - half
    end = end * number(spatial_scale) - half
    size = end - start if aligned else max(end - start, number(1))
    step = size / number(bins)
    count = sampling_ratio or math.ceil(step)
    samples = [[] for _ in range(bins)]
    for p in range(bins):
        for s in range(count):
            position = start + number(p) * step + number(s + 0.5) * step / number(count)
            if not -1 <= position <= pixels:
                samples[p].append([])
                continue
            position = min(max(position, number(0)), number(pixels - 1))
            lower = int(position)
            rest = position - number(lower)
            upper = min(lower + 1, pixels - 1)
            samples[p].append([(lower, number(1) - rest), (upper, rest)])
    return samples
