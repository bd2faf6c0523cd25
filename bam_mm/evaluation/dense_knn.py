"""Segmentation by the nearest labelled patches of training images, without training.

The protocol is that of Balažević et al., "Towards In-context Scene Understanding" (2023).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bam_mm.distributed import gather_equal, gather_rows
from bam_mm.errors import InputError
from bam_mm.evaluation.feature_checks import check_rows
from bam_mm.evaluation.nearest_in_shards import nearest_in_shards
from bam_mm.evaluation.nearest_rows import nearest_rows

IGNORED = 255
"""Label of pixels without a class."""

PIXELS_AT_ONCE = 1 << 24
"""Number of entries (classes x pixels) of an enlarged prediction that are in memory at a time."""


class PatchLabels(NamedTuple):
    """Label distributions of patches, as few entries as the most mixed patch has classes.

    Attributes:
        classes: (N, L) uint8 classes of each patch. Entries beyond its classes are any class.
        shares: (N, L) float32 shares of its pixels that have these classes, 0 for entries beyond.
    """

    classes: Tensor
    shares: Tensor


def patch_shares(labels: Tensor, grid: tuple[int, int], *, num_classes: int) -> Tensor:
    """Compute the share of each class among the pixels of each patch of a map.

    A pixel belongs to the patch that its centre lies in, also if the sides are no multiples of the
    grid. Pixels without a class count for none, so that the shares of a patch may sum to less
    than 1.

    Args:
        labels: (H, W) integer labels in [0, num_classes), or 255 for none.
        grid: (h, w), number of patches in height and width.
        num_classes: Number of classes C.

    Returns:
        (h * w, C) float32 shares, in the order of rows of the map of features.

    Raises:
        InputError: If the labels are no map of integers, or one is out of range.
    """
    labels = _checked_map(labels, num_classes)
    (height, width), (rows, columns) = labels.shape, grid
    device = labels.device
    row = (2 * torch.arange(height, device=device) + 1) * rows // (2 * height)
    column = (2 * torch.arange(width, device=device) + 1) * columns // (2 * width)
    cells = row[:, None] * columns + column
    sizes = torch.bincount(cells.flatten(), minlength=rows * columns)
    known = labels != IGNORED
    places = cells[known] * num_classes + labels[known]
    counts = torch.bincount(places, minlength=rows * columns * num_classes)
    shares = counts.view(-1, num_classes).float() / sizes[:, None]
    return shares.nan_to_num_(0.0)  # A patch of a map smaller than the grid may have no pixel.


def sample_patches(shares: Tensor, number: int, *, draws: Tensor) -> Tensor:
    """Choose patches of an image for the bank, preferably those with classes of few patches.

    The score of a patch is the sum over its classes of the number of patches with that class,
    times a random number. The patches with the lowest scores are chosen.

    Args:
        shares: (N, C) shares from :func:`patch_shares`.
        number: Number of patches to choose.
        draws: (N,) random numbers in [0, 1), see :func:`patch_draws`.

    Returns:
        Ascending indices of at most ``number`` patches. Patches without a class are never chosen.
    """
    present = (shares > 0).double()
    scores = present @ present.sum(dim=0)
    labelled = (scores > 0).nonzero().flatten()
    scores = scores[labelled] * draws.to(scores)[labelled]
    order = scores.sort(stable=True).indices[:number]
    return labelled[order].sort().values


def patch_draws(number: int, *, seed: int, image: int) -> Tensor:
    """Draw the random numbers of an image's patches, whichever process reads the image.

    Args:
        number: Number of patches.
        seed: Seed of the bank.
        image: Index of the image in its data set.

    Returns:
        (number,) float64 numbers in [0, 1).
    """
    return torch.from_numpy(np.random.default_rng([seed, image]).random(number))


def compress_shares(shares: Tensor) -> PatchLabels:
    """Keep the classes that occur in each patch.

    Args:
        shares: (N, C) shares from :func:`patch_shares`, C at most 255.
    """
    most = int((shares > 0).sum(dim=1).max()) if len(shares) else 0
    found = shares.topk(most, dim=1)
    return PatchLabels(found.indices.to(torch.uint8), found.values)


def join_labels(parts: list[PatchLabels]) -> PatchLabels:
    """Concatenate label distributions, which may have different numbers of entries."""
    most = max(part.classes.shape[1] for part in parts)
    padded = [[F.pad(t, (0, most - t.shape[1])) for t in part] for part in parts]
    classes, shares = (torch.cat(tensors) for tensors in zip(*padded, strict=True))
    return PatchLabels(classes, shares)


def check_patch_bank(bank: Tensor, labels: PatchLabels, *, size: int, num_classes: int) -> None:
    """Check a bank of patches, or the part of it that a process holds.

    Args:
        bank: (n, D) features.
        labels: Label distributions of all patches of the bank.
        size: Number of all patches N.
        num_classes: Number of classes.

    Raises:
        InputError: If a feature is not finite, a class is out of range, or shapes do not agree.
    """
    shapes = sorted({tuple(each.shape) for each in labels})
    if len(shapes) > 1 or labels.classes.ndim != 2 or len(labels.classes) != size:
        raise InputError(
            f"bank_labels {', '.join(map(str, shapes))} must hold the classes and shares (N, L) "
            f"of each of the {size} patches of the bank"
        )
    if labels.classes.numel() and int(labels.classes.max()) >= num_classes:
        raise InputError(
            f"bank_labels have class {int(labels.classes.max())}, but num_classes={num_classes} "
            f"allows 0 to {num_classes - 1}; check the classes of the data set"
        )
    check_rows("bank", bank)


@torch.no_grad()
def dense_knn_predict(
    bank: Tensor,
    bank_labels: PatchLabels,
    queries: Tensor,
    *,
    num_classes: int,
    k: int = 30,
    temperature: float = 0.02,
    chunk: int = 1024,
) -> Tensor:
    """Predict the label distributions of patches from the k nearest patches of a bank.

    The labels of the nearest patches are averaged with the weights
    softmax(cosine / temperature), that is, by cross-attention from the patch to them::

        for patch in queries:                                     # (D,)
            nearest = the k rows of bank with the largest cosine(row, patch)
            weights = softmax(cosine(bank[nearest], patch) / temperature)
            prediction = sum(weights * shares[nearest])           # (C,)

    Args:
        bank: (N, D) features of labelled patches; normalised here.
        bank_labels: Label distributions of these N patches.
        queries: (Q, D) features of the patches to label; normalised here.
        num_classes: Number of classes C.
        k: Number of neighbours, 1 <= k <= N.
        temperature: Temperature of the softmax.
        chunk: Number of queries per step, which bounds the memory, see
            :mod:`bam_mm.evaluation.nearest_rows`.

    Returns:
        (Q, C) distributions; float64 if the bank is float64, otherwise float32.

    Raises:
        InputError: If k exceeds the size of the bank, a setting is out of range, a feature is not
            finite, or shapes do not agree.
    """
    _check_queries(bank, len(bank), queries, k, temperature, chunk)
    check_patch_bank(bank, bank_labels, size=len(bank), num_classes=num_classes)
    similar, rows = nearest_rows(bank, queries, k=k, chunk=chunk, dtype=_dtype(bank))
    return _attend(similar, rows, bank_labels, num_classes, temperature, chunk)


@torch.no_grad()
def dense_knn_predict_shards(
    shard: Tensor,
    rows: Tensor,
    bank_labels: PatchLabels,
    queries: Tensor,
    *,
    num_classes: int,
    k: int = 30,
    temperature: float = 0.02,
    chunk: int = 1024,
) -> Tensor:
    """Predict with a bank whose rows are distributed over the processes.

    Every process must call this function, each with its own queries. The neighbours are those of
    :func:`dense_knn_predict` on the whole bank, whose contents are not checked again for each
    batch: call :func:`check_patch_bank` once.

    Args:
        shard: (n, D) features, the rows of the bank that this process holds; normalised here.
        rows: (n,) ascending indices of these rows in the bank.
        bank_labels: Label distributions of all N patches of the bank.
        queries: (q, D) features of the patches that this process labels; q may differ between
            processes and be 0.
        num_classes: Same as in :func:`dense_knn_predict`.
        k: Same as in :func:`dense_knn_predict`.
        temperature: Same as in :func:`dense_knn_predict`.
        chunk: Same as in :func:`dense_knn_predict`.

    Returns:
        (q, C) distributions of this process's queries.

    Raises:
        InputError: If k exceeds the size of the bank, a setting is out of range, a query is not
            finite, or shapes do not agree.
    """
    _check_queries(shard, len(bank_labels.classes), queries, k, temperature, chunk)
    if rows.shape != shard.shape[:1]:
        raise InputError(
            f"rows {tuple(rows.shape)} must hold the index in the bank of each of the {len(shard)} "
            "rows of this process"
        )
    number = len(queries)
    most = int(gather_rows(torch.tensor([number])).max())
    padded = F.pad(queries, (0, 0, 0, most - number))
    # Query j of process r is number j * P + r, so that each process gets its own back.
    everyones = gather_equal(padded).transpose(0, 1).flatten(0, 1)
    similar, places = nearest_in_shards(
        shard, rows, everyones, k=k, chunk=chunk, dtype=_dtype(shard)
    )
    return _attend(similar[:number], places[:number], bank_labels, num_classes, temperature, chunk)


def enlarged_classes(prediction: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge label distributions bilinearly, and take the largest class of each pixel.

    Only classes that occur are enlarged, some rows of pixels at a time.

    Args:
        prediction: (C, h, w) label distributions of patches, not negative.
        size: (H, W), size of the result in pixels.

    Returns:
        (H, W) int64 classes. Of equal ones, the first is taken.
    """
    height, width = size
    kept = (prediction.amax(dim=(1, 2)) > 0).nonzero().flatten()
    kept = kept if len(kept) else kept.new_zeros(1)
    rows = prediction.shape[1]
    # Bilinear interpolation is separable: the width here, the height below.
    wide = F.interpolate(
        prediction[kept][None], size=(rows, width), mode="bilinear", align_corners=False
    )[0]
    places = (torch.arange(height, device=wide.device) + 0.5) * (rows / height) - 0.5
    places = places.clamp_(0, rows - 1)
    above = places.floor().long().clamp_(max=max(0, rows - 2))
    below, share = (above + 1).clamp_(max=rows - 1), (places - above).to(wide)[:, None]
    step = max(1, PIXELS_AT_ONCE // (len(kept) * width))
    best = [
        torch.lerp(wide[:, a], wide[:, b], s).argmax(dim=0)
        for a, b, s in zip(above.split(step), below.split(step), share.split(step), strict=True)
    ]
    return kept[torch.cat(best)]


def mean_iou(counts: Tensor) -> float:
    """Compute the mean intersection over union of the classes that occur, as mmseg does.

    Args:
        counts: (3, C) numbers of pixels of each class, summed over the images: predicted rightly,
            predicted, true.

    Returns:
        A fraction; NaN if no class occurs.
    """
    right, found, true = counts.double()
    union = found + true - right
    return float((right / union)[union > 0].mean())


def chance_counts(truth: Tensor, most_frequent: int) -> Tensor:
    """Return the counts of predicting one class for every pixel.

    Args:
        truth: (C,) true numbers of pixels of each class.
        most_frequent: The class.

    Returns:
        (3, C) counts as :func:`mean_iou` takes them.
    """
    right, found = torch.zeros_like(truth), torch.zeros_like(truth)
    right[most_frequent], found[most_frequent] = truth[most_frequent], truth.sum()
    return torch.stack([right, found, truth])


def _attend(
    similar: Tensor,
    rows: Tensor,
    labels: PatchLabels,
    num_classes: int,
    temperature: float,
    chunk: int,
) -> Tensor:
    """Average the labels of (Q, k) neighbours with cosines ``similar``."""
    found = similar.new_zeros((len(similar), num_classes))
    parts = (each.split(chunk) for each in (similar, rows, found))
    for cosines, places, out in zip(*parts, strict=True):
        weights = (cosines / temperature).softmax(dim=1)
        shares = weights[..., None] * labels.shares[places].to(weights)
        classes = labels.classes[places].long()
        out.scatter_add_(1, classes.flatten(1), shares.flatten(1))
    return found


def _dtype(bank: Tensor) -> torch.dtype:
    return torch.float64 if bank.dtype == torch.float64 else torch.float32


def _checked_map(labels: Tensor, num_classes: int) -> Tensor:
    """Return a map of labels as int64.

    Raises:
        InputError: If it is no map of integers, or a label is out of range.
    """
    if labels.ndim != 2 or labels.is_floating_point() or labels.is_complex():
        raise InputError(
            f"the map is {labels.dtype} {tuple(labels.shape)}: it must be (H, W) integers, one "
            "label per pixel"
        )
    labels = labels.long()
    wrong = ((labels < 0) | (labels >= num_classes)) & (labels != IGNORED)
    if wrong.any():
        raise InputError(
            f"the map has label {int(labels[wrong][0])} in {int(wrong.sum())} pixels, but "
            f"num_classes={num_classes} allows 0 to {num_classes - 1}, and {IGNORED} for none: "
            "correct the map, or num_classes"
        )
    return labels


def _check_queries(
    bank: Tensor, size: int, queries: Tensor, k: int, temperature: float, chunk: int
) -> None:
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1]:
        raise InputError(
            f"bank {tuple(bank.shape)} and queries {tuple(queries.shape)} must be (N, D) and "
            "(Q, D) features of patches of the same backbone"
        )
    check_rows("queries", queries)
    if not 1 <= k <= size:
        raise InputError(
            f"k={k} neighbours from a bank of {size} patches: choose 1 <= k <= patches, or use a "
            "larger bank"
        )
    if chunk < 1:
        raise InputError(f"chunk={chunk}: the number of queries per step must be at least 1")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise InputError(f"temperature={temperature}: it must be above 0; 0.02 is usual")
