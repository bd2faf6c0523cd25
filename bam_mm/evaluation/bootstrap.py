"""Intervals of a score from the scores of its images, and comparisons of two models on them.

A test set is a sample, so the score of a model would be another one on other images. The percentile
bootstrap draws as many images as there are, with replacement, again and again; the interval holds
the middle 95 % of the scores of these draws. A unit is what is drawn: an image, or a video.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from bam_mm.errors import InputError

LEVEL, DRAWS, SEED = 0.95, 2000, 0
"""Level of an interval, number of draws, and their seed."""

BLOCK = 2**20
"""Largest number of counts that are held at a time; a single draw may have more."""

COLUMNS = 128
"""Number of classes that are summed at a time."""

Key = TypeVar("Key", bound=Hashable)
Interval = tuple[float, float]


@dataclass(frozen=True)
class UnitScores:
    """A score as a function of its units: the mean over classes of a ratio of sums over units.

    A mean over images has one class and the denominator 1. Mean per-class accuracy has, in the
    column of the image's class, the denominator 1 and the numerator 1 if it is correct. mIoU has
    the pixels of intersection and union, J & F the sum over a video's objects and their number.
    Classes whose denominators add up to 0 are left out of the mean.

    Attributes:
        numerators: (N, C) real numbers, or (N,) for one class.
        denominators: Of the same shape, not negative; None for a mean over units.
        scale: Factor of the score, 100 for per cent.

    Raises:
        InputError: If there is no unit, or the shapes differ.
    """

    numerators: np.ndarray
    denominators: np.ndarray | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        found = [np.shape(a) for a in (self.numerators, self.denominators) if a is not None]
        if len(set(found)) > 1 or len(found[0]) not in (1, 2) or not all(found[0]):
            raise InputError(
                f"scores of units with the shapes {', '.join(map(str, found))}: pass (N,) or "
                "(N, C) numbers of at least one unit, and denominators of the same shape"
            )
        if self.denominators is None and len(found[0]) == 2:
            raise InputError(
                f"scores of units with the shape {found[0]} have no denominators: pass them, or "
                "(N,) numbers for a mean over units"
            )

    def __len__(self) -> int:
        return len(self.numerators)

    @property
    def value(self) -> float:
        """The score of all units."""
        return float(self.of_counts(np.ones((1, len(self))))[0])

    @property
    def correct(self) -> np.ndarray | None:
        """(N,) bool, for a mean of units that are right (1) or wrong (0); otherwise None."""
        if self.denominators is not None or not np.isin(self.numerators, (0, 1)).all():
            return None
        return self.numerators.astype(bool)

    def take(self, order: Sequence[int] | np.ndarray) -> UnitScores:
        """Return the scores of some units, in the given order."""
        below = None if self.denominators is None else self.denominators[order]
        return UnitScores(self.numerators[order], below, self.scale)

    def of_counts(self, counts: np.ndarray) -> np.ndarray:
        """Compute the score of each draw.

        Args:
            counts: (B, N) how often each unit is drawn.

        Returns:
            (B,) scores; NaN for a draw in which no class has a denominator above 0.
        """
        counts = counts.astype(np.float64, copy=False)
        if self.denominators is None:
            sums = counts @ self.numerators.astype(np.float64, copy=False)
            return self.scale * sums / counts.sum(axis=1)
        above = self.numerators.reshape(len(self), -1)
        below = self.denominators.reshape(len(self), -1)
        total, classes = np.zeros(len(counts)), np.zeros(len(counts))
        for first in range(0, above.shape[1], COLUMNS):
            part = slice(first, first + COLUMNS)
            sums = counts @ above[:, part].astype(np.float64)
            weights = counts @ below[:, part].astype(np.float64)
            there = weights > 0
            total += np.where(there, sums / np.where(there, weights, 1), 0).sum(axis=1)
            classes += there.sum(axis=1)
        return self.scale * total / np.where(classes > 0, classes, np.nan)


@dataclass(frozen=True)
class Difference:
    """The difference of two scores on the same units.

    Attributes:
        value: Second score minus first score.
        low: Lower end of its interval.
        high: Upper end of its interval.
    """

    value: float
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 0."""
        return not self.low <= 0 <= self.high


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two classifiers on the same images.

    Attributes:
        only_first: Number of images that only the first classifier has right.
        only_second: Number of images that only the second classifier has right.
        p: Probability of a split at least this uneven if both were equally good (two-sided).
    """

    only_first: int
    only_second: int
    p: float


def bootstrap_interval(
    scores: Any, *, level: float = LEVEL, draws: int = DRAWS, seed: int = SEED
) -> Interval:
    """Compute the percentile bootstrap interval of a mean.

    Args:
        scores: (N,) score of each image, such as 1 if it is classified correctly and 0 if not.
        level: Part of the draws that the interval holds, above 0 and below 1.
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        The lower and the upper end.

    Raises:
        InputError: If a score is not finite, there is none, or an option is out of range.
    """
    unit_scores = UnitScores(_finite("scores", scores))
    return bootstrap_intervals({"": unit_scores}, level=level, draws=draws, seed=seed)[""]


def bootstrap_intervals(
    scores: Mapping[Key, UnitScores],
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[Key, Interval]:
    """Compute the percentile bootstrap intervals of several scores of the same units.

    Args:
        scores: Scores by name, all of N units.
        level: Same as in :func:`bootstrap_interval`.
        draws: Same as in :func:`bootstrap_interval`.
        seed: Same as in :func:`bootstrap_interval`.

    Returns:
        The lower and the upper end by name.

    Raises:
        InputError: If the numbers of units differ, or an option is out of range.
    """
    statistics = {name: score.of_counts for name, score in scores.items()}
    sizes = [len(score) for score in scores.values()]
    return _percentiles(statistics, sizes, level=level, draws=draws, seed=seed)


def paired_bootstrap(
    first: Any, second: Any, *, level: float = LEVEL, draws: int = DRAWS, seed: int = SEED
) -> Difference:
    """Compute the interval of the difference of two means over the same images.

    Both models are scored on the same draws. What makes an image easy or hard for both of them
    cancels, so that the interval is narrower than that of two independent test sets.

    Args:
        first: (N,) score of each image with the first model.
        second: (N,) score of each image with the second model, in the same order.
        level: Same as in :func:`bootstrap_interval`.
        draws: Same as in :func:`bootstrap_interval`.
        seed: Same as in :func:`bootstrap_interval`.

    Returns:
        The difference, second minus first.

    Raises:
        InputError: If the numbers of images differ, and as in :func:`bootstrap_interval`.
    """
    pair = UnitScores(_finite("first", first)), UnitScores(_finite("second", second))
    return paired_bootstraps({"": pair}, level=level, draws=draws, seed=seed)[""]


def paired_bootstraps(
    pairs: Mapping[Key, tuple[UnitScores, UnitScores]],
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = SEED,
) -> dict[Key, Difference]:
    """Compute the intervals of several differences of scores of the same units.

    Args:
        pairs: First and second score by name, all of the same N units in the same order.
        level: Same as in :func:`bootstrap_interval`.
        draws: Same as in :func:`bootstrap_interval`.
        seed: Same as in :func:`bootstrap_interval`.

    Returns:
        The differences by name, second minus first.

    Raises:
        InputError: If the numbers of units differ, or an option is out of range.
    """

    def difference(first: UnitScores, second: UnitScores) -> Callable[[np.ndarray], np.ndarray]:
        return lambda counts: second.of_counts(counts) - first.of_counts(counts)

    statistics = {name: difference(*pair) for name, pair in pairs.items()}
    sizes = [len(score) for pair in pairs.values() for score in pair]
    ends = _percentiles(statistics, sizes, level=level, draws=draws, seed=seed)
    return {
        name: Difference(second.value - first.value, *ends[name])
        for name, (first, second) in pairs.items()
    }


def mcnemar(first: Any, second: Any) -> McNemar:
    """Compare two classifiers by the images that only one of them has right.

    Args:
        first: (N,) whether the first classifier has each image right.
        second: (N,) whether the second classifier has it right, in the same order.

    Returns:
        Both counts and the exact p-value.

    Raises:
        InputError: If the numbers of images differ.
    """
    a, b = (np.asarray(x).astype(bool) for x in (first, second))
    if a.shape != b.shape or a.ndim != 1:
        raise InputError(
            f"McNemar's test of {a.shape} and {b.shape} answers: pass (N,) answers of both models "
            "to the same images"
        )
    ones = int((a & ~b).sum()), int((b & ~a).sum())
    # The sum over k of the binomial coefficients is exact, as Python's integers have no limit.
    total = sum(ones)
    term = tail = 1
    for k in range(min(ones)):
        term = term * (total - k) // (k + 1)
        tail += term
    return McNemar(*ones, p=min(1.0, 2 * tail / 2**total))


def resampled_counts(units: int, *, draws: int = DRAWS, seed: int = SEED) -> Iterator[np.ndarray]:
    """Draw N of N units with replacement, many times, a block of draws after the other.

    The numbers come from the raw stream of PCG64, which NumPy keeps the same in all its versions.
    They depend neither on the machine nor on the size of the blocks.

    Args:
        units: Number of units N.
        draws: Number of draws.
        seed: Seed of the draws.

    Yields:
        (B, N) int64, how often each unit is drawn in each of B draws.
    """
    generator = np.random.PCG64(seed)
    rows = max(1, BLOCK // units)
    for first in range(0, draws, rows):
        size = min(rows, draws - first)
        # 32 random bits times N, over 2^32: a unit's probability is 1/N to a part in 2^32 / N.
        high = generator.random_raw(size * units) >> np.uint64(32)
        drawn = (high * np.uint64(units) >> np.uint64(32)).astype(np.int64).reshape(size, units)
        drawn += units * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)


def _percentiles(
    statistics: Mapping[Key, Callable[[np.ndarray], np.ndarray]],
    sizes: Sequence[int],
    *,
    level: float,
    draws: int,
    seed: int,
) -> dict[Key, Interval]:
    if not 0 < level < 1 or draws < 1:
        raise InputError(
            f"bootstrap with level={level}, draws={draws}: the level must be above 0 and below 1, "
            f"such as {LEVEL}, and there must be a draw, such as {DRAWS}"
        )
    if len(set(sizes)) > 1:
        raise InputError(
            f"bootstrap over {' and '.join(map(str, sorted(set(sizes))))} units: scores must be of "
            "the same units"
        )
    if not statistics:
        return {}
    values: dict[Key, list[np.ndarray]] = {name: [] for name in statistics}
    for counts in resampled_counts(sizes[0], draws=draws, seed=seed):
        for name, statistic in statistics.items():
            values[name].append(statistic(counts))
    ends = [(1 - level) / 2, (1 + level) / 2]
    found = {name: np.nanquantile(np.concatenate(v), ends) for name, v in values.items()}
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def _finite(what: str, scores: Any) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not math.isfinite(values.sum()):
        raise InputError(
            f"{what} of the shape {values.shape}: pass (N,) finite scores of at least one image"
        )
    return values
