"""Dense kNN: a slow reference, labels of patches, sampling, enlarging, IoU, wrong arguments."""

import pytest
import torch
import torch.nn.functional as F
from mmseg.evaluation import IoUMetric

from bam_mm import InputError
from bam_mm.evaluation import (
    PatchLabels,
    compress_shares,
    dense_knn_predict,
    enlarged_classes,
    mean_iou,
    patch_draws,
    patch_shares,
    sample_patches,
)
from bam_mm.evaluation import dense_knn as module
from tests.reference.slow_dense_knn import (
    slow_classes,
    slow_dense_knn,
    slow_mean_iou,
    slow_sample,
    slow_shares,
)

CLASSES = 5


def iou_counts(prediction, truth, *, num_classes):
    """Return (3, C) numbers of pixels as mmseg counts them: predicted rightly, predicted, true."""
    parts = IoUMetric.intersect_and_union(prediction, truth.long(), num_classes, 255)
    return torch.stack([parts[0], *parts[2:]]).long()


def generator(seed):
    return torch.Generator().manual_seed(seed)


def draw_map(seed, size):
    """A map of few large regions, some of them unlabelled."""
    g = generator(seed)
    coarse = torch.randint(CLASSES + 1, (4, 3), generator=g)
    coarse[coarse == CLASSES] = 255
    return F.interpolate(coarse[None, None].double(), size=size, mode="nearest")[0, 0].to(
        torch.uint8
    )


def draw_bank(seed, n=40, d=6):
    g = generator(seed)
    shares = torch.rand(n, CLASSES, generator=g) * (torch.rand(n, CLASSES, generator=g) < 0.4)
    return torch.randn(n, d, generator=g, dtype=torch.float64), shares / 2


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_slow_reference_from_map_to_iou(seed):
    grid, size, k = (4, 5), (17 + seed, 23), 1 + 3 * seed
    truths = [draw_map(10 * seed + i, size) for i in range(3)]
    features = torch.randn(3, 20, 6, generator=generator(seed), dtype=torch.float64)
    bank, kept, slow_kept = [], [], []
    for image in (0, 1):
        shares = patch_shares(truths[image], grid, num_classes=CLASSES)
        slow = slow_shares(truths[image].tolist(), grid, num_classes=CLASSES)
        torch.testing.assert_close(shares, torch.tensor(slow), rtol=0, atol=1e-6)
        draws = patch_draws(20, seed=seed, image=image)
        chosen = sample_patches(shares, 15, draws=draws)
        assert chosen.tolist() == slow_sample(slow, 15, draws.tolist())
        bank.append(features[image, chosen])
        kept.append(shares[chosen])
        slow_kept += [slow[i] for i in chosen.tolist()]
    bank, kept = torch.cat(bank), torch.cat(kept)
    k = min(k, len(bank))
    found = dense_knn_predict(
        bank, compress_shares(kept), features[2], num_classes=CLASSES, k=k, chunk=7
    )
    expected = slow_dense_knn(bank.tolist(), slow_kept, features[2].tolist(), k=k, temperature=0.02)
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6
    )
    classes = enlarged_classes(found.T.unflatten(1, grid), size)
    slow = slow_classes(expected, grid, size)
    # Rounding decides where two classes are equal.
    assert (classes != torch.tensor(slow)).double().mean() < 0.01
    score = mean_iou(iou_counts(classes, truths[2], num_classes=CLASSES))
    wanted = slow_mean_iou([classes.tolist()], [truths[2].tolist()], num_classes=CLASSES)
    assert score == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_chunks_and_float32_change_nothing(chunk):
    bank, shares = draw_bank(0)
    queries = torch.randn(25, 6, generator=generator(1), dtype=torch.float64)
    labels = compress_shares(shares)
    settings = dict(num_classes=CLASSES, k=9)
    whole = dense_knn_predict(bank, labels, queries, **settings)
    parts = dense_knn_predict(bank, labels, queries, chunk=chunk, **settings)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=0)
    single = dense_knn_predict(bank.float(), labels, queries.float(), **settings)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, rtol=0, atol=1e-5)


def test_scale_of_features_and_order_of_the_bank_change_nothing():
    bank, shares = draw_bank(2)
    queries = torch.randn(25, 6, generator=generator(3), dtype=torch.float64)
    settings = dict(num_classes=CLASSES, k=7)
    whole = dense_knn_predict(bank, compress_shares(shares), queries, **settings)
    order = torch.randperm(len(bank), generator=generator(4))
    other = dense_knn_predict(
        3 * bank[order], compress_shares(shares[order]), queries / 5, **settings
    )
    torch.testing.assert_close(other, whole, rtol=1e-9, atol=1e-12)


def test_compressed_labels_hold_all_shares():
    _, shares = draw_bank(5)
    labels = compress_shares(shares)
    assert labels.classes.dtype == torch.uint8
    assert labels.classes.shape[1] == int((shares > 0).sum(1).max()) < CLASSES
    back = torch.zeros_like(shares).scatter_add_(1, labels.classes.long(), labels.shares)
    assert torch.equal(back, shares)


def test_pixels_without_a_class_count_for_none():
    labels = torch.tensor([[0, 255, 255, 255], [1, 1, 255, 255]], dtype=torch.uint8)
    shares = patch_shares(labels, (1, 2), num_classes=2)
    assert shares.tolist() == [[0.25, 0.5], [0.0, 0.0]]
    assert sample_patches(shares, 2, draws=torch.tensor([0.9, 0.0])).tolist() == [0]
    counts = iou_counts(torch.zeros(2, 4, dtype=torch.int64), labels, num_classes=2)
    assert counts.tolist() == [[1, 0], [3, 0], [1, 2]]
    assert mean_iou(counts) == pytest.approx(1 / 6)


def test_patches_with_rare_classes_are_preferred():
    # One patch of 100 has class 1. Its score is below that of each other one with probability
    # 98/100 or more, so that it is nearly always among 10 patches; at random, 1 time in 10.
    shares = torch.zeros(100, 2)
    shares[:, 0] = 1
    shares[37] = torch.tensor([0.0, 1.0])
    chosen = [
        sample_patches(shares, 10, draws=patch_draws(100, seed=0, image=image)).tolist()
        for image in range(50)
    ]
    assert all(len(set(c)) == 10 and c == sorted(c) for c in chosen)
    assert sum(37 in c for c in chosen) == 50
    assert len({tuple(c) for c in chosen}) == 50  # Each image has draws of its own.
    again = sample_patches(shares, 10, draws=patch_draws(100, seed=0, image=3))
    assert again.tolist() == chosen[3]


@pytest.mark.parametrize("size", [(64, 96), (37, 50), (3, 5), (1, 1)])
def test_enlarging_equals_torch_also_in_strips(size, monkeypatch):
    prediction = torch.rand(6, 7, 9, generator=generator(0), dtype=torch.float64)
    prediction[[0, 4]] = 0
    whole = F.interpolate(prediction[None], size=size, mode="bilinear", align_corners=False)[0]
    assert torch.equal(enlarged_classes(prediction, size), whole.argmax(0))
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 500)
    assert torch.equal(enlarged_classes(prediction, size), whole.argmax(0))


def test_enlarging_a_single_patch_and_no_class():
    assert enlarged_classes(torch.tensor([0.0, 1.0]).view(2, 1, 1), (4, 4)).unique().tolist() == [1]
    assert enlarged_classes(torch.zeros(2, 2, 2), (4, 4)).unique().tolist() == [0]


def test_the_counts_of_one_class_everywhere_equal_those_of_mmseg():
    truth = draw_map(7, (40, 50))
    counts = iou_counts(torch.full((40, 50), 2), truth, num_classes=CLASSES)
    assert torch.equal(module.chance_counts(counts[2], 2), counts) and 0 < mean_iou(counts) < 0.2


def test_wrong_arguments():
    bank, shares = draw_bank(0)
    labels = compress_shares(shares)
    queries = bank[:3]

    def predict(bank=bank, labels=labels, queries=queries, **settings):
        return dense_knn_predict(bank, labels, queries, **{"num_classes": CLASSES, **settings})

    with pytest.raises(InputError, match="k=41 neighbours from a bank of 40 patches: choose"):
        predict(k=41)
    with pytest.raises(InputError, match=r"bank \(40, 6\) and queries \(3, 5\)"):
        predict(queries=queries[:, :5])
    with pytest.raises(InputError, match=r"bank_labels .* each of the 40 patches"):
        predict(labels=PatchLabels(labels.classes[:9], labels.shares[:9]))
    with pytest.raises(InputError, match="bank_labels have class 4, but num_classes=3"):
        predict(num_classes=3)
    with pytest.raises(InputError, match="temperature=0: it must be above 0"):
        predict(temperature=0)
    with pytest.raises(InputError, match="chunk=0"):
        predict(chunk=0)
    with pytest.raises(InputError, match="queries: 1 of 3 rows are not finite"):
        predict(queries=queries.clone().index_fill_(0, torch.tensor([1]), torch.nan))
    with pytest.raises(InputError, match="label 9 in 12 pixels, but num_classes=5"):
        patch_shares(torch.full((3, 4), 9), (1, 1), num_classes=CLASSES)
    with pytest.raises(InputError, match=r"float32 \(3, 4\): it must be \(H, W\) integers"):
        patch_shares(torch.zeros(3, 4), (1, 1), num_classes=CLASSES)
