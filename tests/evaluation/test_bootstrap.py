"""Bootstrap intervals: against formulas, by simulation, and comparisons of two models."""

import math
import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score

from bam_mm import InputError
from bam_mm.evaluation import (
    UnitScores,
    bootstrap_interval,
    bootstrap_intervals,
    mcnemar,
    paired_bootstrap,
    paired_bootstraps,
)
from bam_mm.evaluation import bootstrap as module

Z = 1.959964  # 97.5 % quantile of the normal distribution


def answers(right, images):
    """``right`` of ``images`` answers are right."""
    return (np.arange(images) < right).astype(float)


@pytest.mark.parametrize(
    "right, images", [(50, 100), (140, 200), (900, 1000), (5, 400), (7450, 10000)]
)
def test_interval_of_an_accuracy_is_that_of_the_binomial_formula(right, images):
    low, high = bootstrap_interval(answers(right, images))
    p, error = right / images, math.sqrt(right * (images - right) / images**3)
    # 2,000 draws and whole images: an end is within 10 % of the half-width and one image.
    tolerance = 0.1 * Z * error + 1 / images
    assert low == pytest.approx(p - Z * error, abs=tolerance)
    assert high == pytest.approx(p + Z * error, abs=tolerance)
    if 0.2 < p < 0.8:
        centre = (p + Z**2 / (2 * images)) / (1 + Z**2 / images)
        half = Z / (1 + Z**2 / images) * math.sqrt(error**2 + (Z / (2 * images)) ** 2)
        # Wilson's, which moves towards one half.
        assert low == pytest.approx(centre - half, abs=tolerance + abs(centre - p))
        assert high == pytest.approx(centre + half, abs=tolerance + abs(centre - p))


def test_interval_of_real_scores_is_that_of_the_standard_error():
    scores = np.random.default_rng(0).gamma(2.0, size=500)
    low, high = bootstrap_interval(scores, draws=4000)
    error = scores.std() / math.sqrt(500)
    assert low == pytest.approx(scores.mean() - Z * error, abs=0.1 * Z * error)
    assert high == pytest.approx(scores.mean() + Z * error, abs=0.1 * Z * error)
    narrow = bootstrap_interval(scores, level=0.5)
    assert low < narrow[0] < scores.mean() < narrow[1] < high
    assert bootstrap_interval(torch.tensor(scores), draws=4000) == (low, high)


@pytest.mark.parametrize("images, p", [(100, 0.7), (300, 0.9)])
def test_95_of_100_intervals_hold_the_true_accuracy(images, p):
    rng = np.random.default_rng(0)
    ends = [
        bootstrap_interval(rng.random(images) < p, draws=1000, seed=number) for number in range(400)
    ]
    covered = np.mean([low <= p <= high for low, high in ends])
    assert 0.92 <= covered <= 0.98


def test_95_of_100_intervals_of_a_paired_difference_hold_the_true_difference():
    rng = np.random.default_rng(0)
    found = []
    for number in range(400):
        # An image is easy, or is right with a chance of 0.5 (first) and 0.6 (second).
        easy = rng.random(150) < 0.5
        first, second = (easy | (rng.random(150) < chance) for chance in (0.5, 0.6))
        found.append(paired_bootstrap(first, second, draws=500, seed=number))
    assert 0.92 <= np.mean([d.low <= 0.05 <= d.high for d in found]) <= 0.98


def test_a_paired_interval_is_narrower_and_has_the_right_sign():
    rng = np.random.default_rng(0)
    first = rng.random(1000) < 0.7
    second = first.copy()
    changed = rng.permutation(np.flatnonzero(~first))[:40]
    second[changed] = True
    found = paired_bootstrap(first, second)
    assert found.value == pytest.approx(0.04) and found.told_apart
    # Of 40 discordant images: the variance is 0.04 - 0.04^2.
    error = math.sqrt((0.04 - 0.04**2) / 1000)
    assert found.low == pytest.approx(0.04 - Z * error, abs=0.1 * Z * error)
    assert found.high == pytest.approx(0.04 + Z * error, abs=0.1 * Z * error)
    unpaired = Z * math.sqrt(first.var() / 1000 + second.var() / 1000)
    assert found.high - found.low < 0.5 * 2 * unpaired
    turned = paired_bootstrap(second, first)
    assert (turned.value, turned.low, turned.high) == (-found.value, -found.high, -found.low)
    same = paired_bootstrap(first, first)
    assert (same.low, same.high) == (0, 0) and not same.told_apart
    # As many are right, but others: no difference, with an interval on both sides of 0.
    equal = paired_bootstrap(first, rng.permutation(first))
    assert equal.low < -0.02 < equal.value == 0 < 0.02 < equal.high and not equal.told_apart


def test_mcnemar_by_hand():
    found = mcnemar([1, 1, 0] + 9 * [0], [0, 1, 0] + 9 * [1])
    # 2 (1 + 10) / 2^10
    assert (found.only_first, found.only_second) == (1, 9) and found.p == 22 / 1024
    assert mcnemar(9 * [1] + [0], 9 * [0] + [1]).p == 22 / 1024
    assert mcnemar([1, 0], [0, 1]).p == 1 == mcnemar([1, 0], [1, 0]).p
    assert mcnemar(5 * [0], 5 * [1]).p == 1 / 16
    from scipy.stats import binomtest

    many = mcnemar(np.arange(5000) < 2350, np.arange(5000) >= 2350)
    assert many.p == pytest.approx(binomtest(2350, 5000, 0.5).pvalue, rel=1e-9)


def test_class_means_and_ratios_of_sums():
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, 4, 120), rng.integers(0, 4, 120)
    known = np.eye(4, dtype=bool)[labels]
    scores = UnitScores(known & (answers == labels)[:, None], known, 100)
    assert scores.value == pytest.approx(100 * recall_score(labels, answers, average="macro"))
    # Each draw is the score of the units that it repeats.
    for counts in module.resampled_counts(120, draws=3, seed=5):
        for row, value in zip(counts, scores.of_counts(counts), strict=True):
            chosen = np.repeat(np.arange(120), row)
            expected = recall_score(labels[chosen], answers[chosen], average="macro")
            assert len(chosen) == 120 and value == pytest.approx(100 * expected)
    # Two images, two classes; the third class is nowhere: (1 / 4 + 5 / 5) / 2.
    iou = UnitScores(np.array([[1, 5, 0], [0, 0, 0]]), np.array([[2, 5, 0], [2, 0, 0]]))
    assert iou.value == 0.625
    # Only the first image, one of each, only the second one, which lacks the second class.
    draws = iou.of_counts(np.array([[2, 0], [1, 1], [0, 2]]))
    assert draws.tolist() == [0.75, 0.625, 0.0]


def test_numbers_do_not_depend_on_the_blocks_and_memory_is_bounded(monkeypatch):
    scores = {
        "a": UnitScores(np.random.default_rng(0).random(300), scale=100),
        "b": UnitScores(answers(7, 300)),
    }
    both = bootstrap_intervals(scores, draws=400)
    # Numbers that stay the same on every machine and in later versions.
    assert both["b"] == pytest.approx((3 / 300, 12.025 / 300), abs=1e-9)
    stream = np.random.PCG64(0)
    drawn = [(int(stream.random_raw()) >> 32) * 300 >> 32 for _ in range(600)]
    for counts in module.resampled_counts(300, draws=2):
        assert counts[1].tolist() == [drawn[300:].count(i) for i in range(300)]
    monkeypatch.setattr(module, "BLOCK", 1000)
    again = bootstrap_intervals(scores, draws=400)
    assert again["b"] == both["b"] and again["a"] == pytest.approx(both["a"], rel=1e-12)
    assert bootstrap_intervals(scores, draws=400, seed=1)["a"] != both["a"]
    monkeypatch.undo()
    tracemalloc.start()
    bootstrap_interval(answers(1000, 5000), draws=2000)  # 80 MB of counts
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


def test_what_cannot_be_drawn_from_is_refused():
    for scores, words in (
        ([], "at least one"),
        ([1.0, math.nan], "finite"),
        ([[1.0]], r"\(1, 1\)"),
    ):
        with pytest.raises(InputError, match=words):
            bootstrap_interval(scores)
    with pytest.raises(InputError, match="level=95"):
        bootstrap_interval([1.0], level=95)
    with pytest.raises(InputError, match="draws=0"):
        bootstrap_interval([1.0], draws=0)
    with pytest.raises(InputError, match="2 and 3 units"):
        paired_bootstrap([1, 0], [1, 0, 1])
    with pytest.raises(InputError, match="the same images"):
        mcnemar([1, 0], [1, 0, 1])
    with pytest.raises(InputError, match="same shape"):
        UnitScores(np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(InputError, match="no denominators"):
        UnitScores(np.ones((3, 2)))
    assert paired_bootstraps({}) == {}
