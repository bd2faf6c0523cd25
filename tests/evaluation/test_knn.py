"""kNN: a slow reference, memory, a balanced bank, wrong arguments."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from bam_mm.evaluation import (
    balanced_subset,
    colour_histogram,
    knn_predict,
    knn_predict_many,
    raw_pixels,
)
from tests.reference.slow_knn import slow_knn


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_slow_reference(seed):
    g = torch.Generator().manual_seed(seed)
    n, q, d, classes = (int(torch.randint(low, high, (1,), generator=g)) for low, high in
                        ((8, 60), (1, 25), (2, 16), (2, 7)))  # fmt: skip
    k = int(torch.randint(1, n + 1, (1,), generator=g))
    bank = torch.randn(n, d, generator=g, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=g)
    queries = torch.randn(q, d, generator=g, dtype=torch.float64)
    settings = dict(num_classes=classes, k=k, temperature=0.07)
    scores = knn_predict(bank, labels, queries, chunk=7, **settings)
    slow = slow_knn(bank.tolist(), labels.tolist(), queries.tolist(), **settings)
    torch.testing.assert_close(scores, torch.tensor(slow, dtype=torch.float64), rtol=1e-9, atol=0)
    assert torch.equal(scores.argmax(1), torch.tensor(slow).argmax(1))


@pytest.mark.parametrize("seed", range(20))
def test_equals_the_slow_reference_where_rows_tie(seed):
    # Four entries of +1 or -1 and otherwise 0: cosines are multiples of 1/4, exactly. The bank has
    # each row several times, with other labels; the reference takes the first of equal ones.
    g = torch.Generator().manual_seed(seed)
    places = torch.rand(9, 6, generator=g).argsort(1)[:, :4]
    signs = torch.randint(2, (9, 4), generator=g).double() * 2 - 1
    rows = torch.zeros(9, 6, dtype=torch.float64).scatter_(1, places, signs)
    bank = rows[torch.randint(9, (40,), generator=g)]
    classes = 1 if seed == 0 else 5
    labels = torch.randint(classes, (40,), generator=g)
    ks = sorted(set(torch.randint(1, 41, (3,), generator=g).tolist()) | {40})
    many = knn_predict_many(bank, labels, rows, num_classes=classes, ks=ks, chunk=4)
    assert list(many) == ks
    for k, scores in many.items():
        settings = dict(num_classes=classes, k=k, temperature=0.07)
        slow = slow_knn(bank.tolist(), labels.tolist(), rows.tolist(), **settings)
        torch.testing.assert_close(
            scores, torch.tensor(slow, dtype=torch.float64), rtol=1e-12, atol=0
        )
        assert torch.equal(knn_predict(bank, labels, rows, chunk=7, **settings), scores)


def test_many_ks_need_one_pass_of_similarities(monkeypatch):
    sizes = []
    matmul = torch.Tensor.__matmul__
    monkeypatch.setattr(
        torch.Tensor,
        "__matmul__",
        lambda a, b: (sizes.append((len(a), b.shape[1])), matmul(a, b))[1],
    )
    bank, queries = torch.randn(50, 4), torch.randn(20, 4)
    knn_predict_many(bank, torch.arange(50) % 3, queries, num_classes=3, ks=[1, 5, 50], chunk=8)
    assert sizes == [(8, 50), (8, 50), (4, 50)]


def test_memory_is_that_of_a_chunk():
    # Every allocation of the call, by torch's own profiler: never much above one chunk x bank.
    bank, queries = torch.randn(20_000, 8), torch.randn(512, 8)
    labels = torch.arange(20_000) % 3
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        knn_predict(bank, labels, queries, num_classes=3, k=5, chunk=32)
    held = peak = 0
    for event in sorted(
        (e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"),
        key=lambda e: e.start_ns(),
    ):
        held += event.nbytes()
        peak = max(peak, held)
    chunk, everything = 32 * 20_000 * 4, 512 * 20_000 * 4
    bank_copies = 3 * bank.numel() * 4
    assert chunk <= peak < chunk + bank_copies + 500_000 < everything / 8


def test_half_precision_votes_do_not_overflow():
    # exp(1 / .07) is 1.6e6: more than float16 holds.
    bank = torch.randn(30, 8).half()
    scores = knn_predict(bank, torch.arange(30) % 3, bank, num_classes=3, k=3)
    assert scores.dtype == torch.float32 and scores.isfinite().all()
    assert torch.equal(scores.argmax(1), torch.arange(30) % 3)


def test_never_holds_more_similarities_than_a_chunk(monkeypatch):
    sizes = []
    topk = torch.Tensor.topk
    monkeypatch.setattr(
        torch.Tensor,
        "topk",
        lambda x, *a, **kw: (sizes.append(tuple(x.shape)), topk(x, *a, **kw))[1],
    )
    knn_predict(
        torch.randn(50, 4),
        torch.zeros(50, dtype=int),
        torch.randn(33, 4),
        num_classes=1,
        k=3,
        chunk=8,
    )
    assert sizes == [(8, 50)] * 4 + [(1, 50)]


def test_scale_of_features_and_chunking_change_nothing():
    bank, queries = torch.randn(40, 8).double(), torch.randn(20, 8).double()
    labels = torch.arange(40) % 4
    a = knn_predict(bank, labels, queries, num_classes=4, k=5)
    b = knn_predict(bank * 3, labels, queries * 0.1, num_classes=4, k=5, chunk=3)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    "change,words",
    [
        (dict(k=11), "k=11 neighbours from a bank of 10 rows"),
        (dict(num_classes=2), "num_classes=2"),
        (dict(queries=torch.randn(3, 5)), "same backbone"),
        (dict(bank_labels=torch.zeros(9, dtype=int)), "one label for each"),
        (dict(bank_labels=torch.arange(10) - 1), "run from -1 to 8"),
        (dict(queries=torch.full((3, 4), float("nan"))), "queries: 3 of 3 rows are not finite"),
        (dict(temperature=0), "temperature=0"),
        (dict(temperature=0.01), "is finite"),
        (dict(chunk=0), "chunk=0"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    arguments = dict(
        bank=torch.randn(10, 4),
        bank_labels=torch.arange(10) % 3,
        queries=torch.randn(3, 4),
        num_classes=3,
        k=2,
    )
    with pytest.raises(ValueError, match=words):
        knn_predict(**{**arguments, **change})


def test_balanced_subset_keeps_the_fraction_of_each_class():
    labels = torch.tensor([0] * 100 + [1] * 40 + [2] * 3)
    chosen = balanced_subset(labels, 0.1, seed=4)
    assert torch.bincount(labels[chosen]).tolist() == [10, 4, 1]
    assert torch.equal(chosen, chosen.sort().values) and len(chosen.unique()) == len(chosen)
    assert torch.equal(chosen, balanced_subset(labels, 0.1, seed=4))
    assert not torch.equal(chosen, balanced_subset(labels, 0.1, seed=5))
    with pytest.raises(ValueError, match="fraction 0"):
        balanced_subset(labels, 0)


def test_colour_histogram_counts_by_hand():
    image = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    image[0, :, 0, 0] = 255  # One white pixel, three black ones.
    histogram = colour_histogram(image, bins=2)
    assert histogram.shape == (1, 8)
    assert histogram[0, 0].item() == pytest.approx(0.75**0.5)
    assert histogram[0, 7].item() == pytest.approx(0.5)
    assert raw_pixels(image).sum().item() == pytest.approx(0.0, abs=1e-3)
