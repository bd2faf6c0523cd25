"""Label propagation and its read-out in plain Python loops over patches and pixels."""

from math import exp, floor, sqrt

import numpy as np
from PIL import Image


def slow_propagate_labels(target, context, labels, *, grid, topk, radius, temperature):
    """Compute ``propagate_labels`` of nested lists patch by patch, as a (C, h, w) array."""
    h, w = grid
    n, classes = len(labels), len(labels[0])
    out = np.zeros((classes, h, w))
    for y in range(h):
        for x in range(w):
            votes = []
            for f in range(n):
                for ky in range(h):
                    for kx in range(w):
                        if radius and (abs(ky - y) > radius or abs(kx - x) > radius):
                            continue
                        cosine = _cosine(target[y * w + x], context[f][ky * w + kx])
                        votes.append((exp(cosine / temperature), f, ky, kx))
            votes.sort(reverse=True)
            last = votes[min(topk, len(votes)) - 1][0]
            kept = [vote for vote in votes if vote[0] >= last]
            total = sum(vote[0] for vote in kept)
            for weight, f, ky, kx in kept:
                for c in range(classes):
                    out[c, y, x] += weight / total * labels[f][c][ky][kx]
    return out


def slow_read_out(soft, patch_size, size):
    """Compute ``read_out`` pixel by pixel, for soft labels without constant channels."""
    classes, h, w = soft.shape
    height, width = h * patch_size, w * patch_size
    large = np.zeros((classes, height, width))
    for c in range(classes):
        for y in range(height):
            for x in range(width):
                large[c, y, x] = _bilinear(soft[c], (y + 0.5) / patch_size, (x + 0.5) / patch_size)
        if large[c].max() > 0:
            large[c] = (large[c] - large[c].min()) / (large[c].max() - large[c].min())
    ids = large.argmax(axis=0).astype(np.uint8)
    return np.asarray(Image.fromarray(ids).resize(size[::-1], Image.Resampling.NEAREST))


def _cosine(a, b):
    product = sum(p * q for p, q in zip(a, b, strict=True))
    return product / sqrt(sum(p * p for p in a)) / sqrt(sum(q * q for q in b))


def _bilinear(image, y, x):
    # (y, x) is in patches from the corner. The value of a patch is at its centre, and values at the
    # border are repeated outwards.
    value = 0.0
    for row in (floor(y - 0.5), floor(y - 0.5) + 1):
        for column in (floor(x - 0.5), floor(x - 0.5) + 1):
            weight = (1 - abs(y - 0.5 - row)) * (1 - abs(x - 0.5 - column))
            inside_row = min(max(row, 0), image.shape[0] - 1)
            inside_column = min(max(column, 0), image.shape[1] - 1)
            value += weight * image[inside_row, inside_column]
    return value
