"""Seeded choices of images, balanced over classes: validation splits and labelled subsets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bam_mm.errors import InputError


def stratified_split(
    labels: Sequence[int] | np.ndarray, num_val: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a validation part out of a training set, the same fraction of every class.

    Each class gets the whole part of ``num_val * n_class / N``; what is missing to ``num_val`` goes
    to the classes with the largest remainders (the first of them where they tie).

    Args:
        labels: (N,) integers.
        num_val: Images of the validation part, in [0, N].
        seed: The same seed gives the same split everywhere.

    Returns:
        Sorted indices of the training part and of the validation part.

    Raises:
        ValueError: If ``num_val`` is not in [0, N].
    """
    labels = np.asarray(labels)
    if not 0 <= num_val <= len(labels):
        raise ValueError(f"num_val={num_val} of {len(labels)} images: choose 0 to {len(labels)}")
    classes, counts = np.unique(labels, return_counts=True)
    ideal = num_val * counts / max(len(labels), 1)
    quota = np.floor(ideal).astype(int)
    missing = num_val - quota.sum()
    quota[np.argsort(quota - ideal, kind="stable")[:missing]] += 1
    val = _draw(labels, dict(zip(classes.tolist(), quota.tolist(), strict=True)), seed)
    return np.setdiff1d(np.arange(len(labels)), val), val


def balanced_choice(
    labels: Sequence[int] | np.ndarray, percent: float, *, seed: int = 0
) -> np.ndarray:
    """Choose a percentage of the images, the same number from every class.

    The total is ``round(percent / 100 * N)``, at least one image a class. Where it is no multiple of
    the number of classes, some classes, drawn by the seed, get one image more.

    Args:
        labels: (N,) integers.
        percent: In (0, 100].
        seed: The same seed gives the same choice everywhere.

    Returns:
        Sorted indices.

    Raises:
        InputError: If the percentage is not in (0, 100], or a class has too few images.
    """
    labels = np.asarray(labels)
    if not 0 < percent <= 100:
        raise InputError(f"--percent {percent}: choose a percentage in (0, 100], as 1 or 10")
    classes, counts = np.unique(labels, return_counts=True)
    total = max(round(percent / 100 * len(labels)), len(classes))
    quota = np.full(len(classes), total // len(classes))
    rng = np.random.default_rng(seed)
    quota[rng.permutation(len(classes))[: total % len(classes)]] += 1
    short = np.flatnonzero(quota > counts)
    if len(short):
        first = short[0]
        raise InputError(
            f"--percent {percent}: a balanced choice takes {quota[first]} images of each class, "
            f"but class number {classes[first]} has {counts[first]}: choose a smaller percentage"
        )
    return _draw(labels, dict(zip(classes.tolist(), quota.tolist(), strict=True)), seed)


def _draw(labels: np.ndarray, quota: dict[int, int], seed: int) -> np.ndarray:
    chosen = []
    for label, count in quota.items():
        rows = np.flatnonzero(labels == label)
        # Each class has its own random stream: another class's size changes nothing here.
        rng = np.random.default_rng([seed, label])
        chosen.append(rng.permutation(rows)[:count])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int)
