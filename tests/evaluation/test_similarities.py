"""Histograms of similarities by kind of pair."""

import pytest
import torch

from bam_mm.evaluation import similarity_histograms
from tests.reference.slow_similarities import slow_similarity_histograms


def test_equals_the_loop_over_pairs():
    torch.manual_seed(0)
    first, second = torch.randn(2, 23, 5, dtype=torch.float64)
    labels = torch.randint(0, 4, (23,))
    slow = slow_similarity_histograms(first, second, labels.tolist(), bins=17)
    for chunk in (1, 7, 100):
        fast = similarity_histograms(first, second, labels, bins=17, chunk=chunk)
        for kind, counts in slow.items():
            assert getattr(fast, kind).tolist() == counts, (kind, chunk)
    assert sum(fast.positive) == 23 and sum(map(sum, slow.values())) == 23**2


def test_by_hand():
    # The angles are 0 and 180 degrees between views of the same image, and 90 degrees otherwise.
    first = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    second = torch.tensor([[3.0, 0.0], [0.0, -1.0]])
    got = similarity_histograms(first, second, torch.tensor([0, 0]), bins=4)
    assert got.edges.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert got.positive.tolist() == [1, 0, 0, 1]
    assert got.same_class.tolist() == [0, 0, 2, 0] and got.other.sum() == 0
    apart = similarity_histograms(first, second, torch.tensor([0, 1]), bins=4)
    assert apart.other.tolist() == [0, 0, 2, 0] and apart.same_class.sum() == 0


def test_scale_and_order_do_not_matter():
    torch.manual_seed(1)
    first, second = torch.randn(2, 30, 6, dtype=torch.float64)
    labels = torch.arange(30) % 3
    plain = similarity_histograms(first, second, labels)
    order = torch.randperm(30)
    scales = torch.rand(30, 1, dtype=torch.float64) + 0.5
    other = similarity_histograms((first * scales)[order], second[order], labels[order])
    for kind in ("positive", "same_class", "other"):
        assert torch.equal(getattr(plain, kind), getattr(other, kind))


def test_wrong_input():
    one = torch.randn(4, 3)
    with pytest.raises(ValueError, match="two views of the same images"):
        similarity_histograms(one, one[:3], torch.zeros(4))
    with pytest.raises(ValueError, match="bins=0"):
        similarity_histograms(one, one, torch.zeros(4), bins=0)
    with pytest.raises(ValueError, match="not all finite"):
        similarity_histograms(one * torch.nan, one, torch.zeros(4))
