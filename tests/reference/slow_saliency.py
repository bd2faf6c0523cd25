"""Heat maps and boxes in plain Python loops in float64."""

import math

import numpy as np
import torch


def slow_class_attention(tokens, weight, bias, heads):
    """Compute the attention of token 0, summed over the heads, as a list with one value per token.

    ``tokens`` (L, C) are those after the norm, ``weight`` (3C, C) and ``bias`` (3C,) are those of
    the joint projection to queries, keys and values.
    """
    tokens, weight, bias = (np.asarray(x, dtype=np.float64) for x in (tokens, weight, bias))
    width = tokens.shape[1]
    part = width // heads
    total = [0.0] * len(tokens)
    for head in range(heads):
        rows = slice(head * part, (head + 1) * part)
        query = weight[:width][rows] @ tokens[0] + bias[:width][rows]
        scores = []
        for token in tokens:
            key = weight[width : 2 * width][rows] @ token + bias[width : 2 * width][rows]
            scores.append(sum(q * k for q, k in zip(query, key, strict=True)) / math.sqrt(part))
        largest = max(scores)
        powers = [math.exp(score - largest) for score in scores]
        total = [t + p / sum(powers) for t, p in zip(total, powers, strict=True)]
    return total


@torch.no_grad()
def tokens_of_mmpretrain(vit, image):
    """Return the input (L, C) of the attention in the last block, and the patch grid."""
    x, grid = vit.patch_embed(image[None])
    extra = [vit.cls_token] if vit.with_cls_token else []
    x = torch.cat([*extra, x], dim=1) + vit.pos_embed
    for layer in vit.layers[:-1]:
        x = layer(x)
    return vit.layers[-1].ln1(x)[0], grid


@torch.no_grad()
def tokens_of_timm(vit, image):
    """Return the input (L, C) of the attention in the last block."""
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(image[None])))
    for block in vit.blocks[:-1]:
        x = block(x)
    return vit.blocks[-1].norm1(x)[0]


def slow_box(heat, size, threshold):
    """Compute the box (top, left, bottom, right) of a map (list of lists) enlarged to ``size``.

    The box is in fractions of the size.
    """
    flat = [v for row in heat for v in row]
    low, high = min(flat), max(flat)
    if low == high:
        return 0.0, 0.0, 1.0, 1.0
    rows, columns = [], []
    for y in range(size[0]):
        for x in range(size[1]):
            value = _bilinear(heat, y, x, size)
            if (value - low) / (high - low) > threshold:
                rows.append(y)
                columns.append(x)
    if not rows:
        return 0.0, 0.0, 1.0, 1.0
    return (
        min(rows) / size[0], min(columns) / size[1],
        (max(rows) + 1) / size[0], (max(columns) + 1) / size[1],
    )  # fmt: skip


def _bilinear(heat, y, x, size):
    """Return the value at the centre of pixel (y, x), where values at the border are repeated."""
    places = []
    for at, whole, count in ((y, size[0], len(heat)), (x, size[1], len(heat[0]))):
        where = min(max((at + 0.5) * count / whole - 0.5, 0.0), count - 1.0)
        first = min(int(where), count - 1)
        places.append((first, min(first + 1, count - 1), where - first))
    (top, bottom, down), (left, right, across) = places
    upper = heat[top][left] * (1 - across) + heat[top][right] * across
    lower = heat[bottom][left] * (1 - across) + heat[bottom][right] * across
    return upper * (1 - down) + lower * down
