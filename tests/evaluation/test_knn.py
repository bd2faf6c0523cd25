"""kNN: a slow reference, memory, balanced banks, wrong arguments."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from bam_mm import InputError
from bam_mm.evaluation import (
    balanced_subset,
    knn_predict,
    knn_predict_many,
)
from bam_mm.evaluation import feature_checks as rows_module
from bam_mm.evaluation import nearest_rows as nearest_rows_module
from bam_mm.evaluation.feature_checks import check_rows
from bam_mm.evaluation.nearest_rows import _compact, multiplier, nearest_rows
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
    # Rows have four entries of +1 or -1, so cosines are exact multiples of 1/4. The bank has each
    # row several times with different labels; the reference takes the first of equal rows.
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


@pytest.fixture
def small_blocks(monkeypatch):
    """Make the blocks of the bank so small that there are many."""
    monkeypatch.setattr(nearest_rows_module, "BANK_ROWS_AT_ONCE", 16)


def recorded_products(monkeypatch):
    """Record the sizes of all tables of similarities, in the order of their computation."""
    sizes, multiplier = [], nearest_rows_module.multiplier

    def recording(block):
        multiply = multiplier(block)
        return lambda rows: (sizes.append((len(rows), len(block))), multiply(rows))[1]

    monkeypatch.setattr(nearest_rows_module, "multiplier", recording)
    return sizes


@pytest.mark.parametrize("seed", range(8))
def test_blocks_change_nothing_where_rows_tie(seed, small_blocks):
    test_equals_the_slow_reference_where_rows_tie(seed)


@pytest.mark.parametrize("order", ["random", "ascending", "descending", "equal"])
@pytest.mark.parametrize("n", [16, 17, 100, 104])
def test_nearest_rows_over_blocks(order, n, small_blocks):
    # In ascending order, each block replaces all rows found before. Cosines are exact multiples of
    # 1/16, so there are ties within blocks and between them.
    g = torch.Generator().manual_seed(n)
    steps = {
        "random": torch.randint(-16, 17, (n,), generator=g),
        "ascending": torch.arange(n) * 32 // n - 16,
        "descending": 16 - torch.arange(n) * 32 // n,
        "equal": torch.full((n,), 5),
    }[order].double() / 16
    bank = torch.stack([steps, (1 - steps**2).sqrt()], 1)
    queries = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]]).double()
    similar = (queries / queries.norm(dim=1, keepdim=True)) @ bank.T
    for k in {1, 5, 16, n}:
        values, rows = nearest_rows(bank, queries, k=k, chunk=2, dtype=torch.float64)
        for query, found, value in zip(similar.tolist(), rows.tolist(), values, strict=True):
            assert found == sorted(range(n), key=lambda row: -query[row])[:k]
            assert value.tolist() == pytest.approx([query[row] for row in found], abs=1e-12)


def test_one_pass_of_similarities_by_blocks(monkeypatch, small_blocks):
    sizes = recorded_products(monkeypatch)
    bank, queries = torch.randn(50, 4), torch.randn(20, 4)
    knn_predict_many(bank, torch.arange(50) % 3, queries, num_classes=3, ks=[1, 5, 50], chunk=8)
    assert sizes == 3 * [(8, 16), (8, 16), (4, 16)] + [(8, 2), (8, 2), (4, 2)]


@pytest.mark.parametrize("rows", [30_000, 60_000])
def test_memory_is_that_of_a_tile_for_any_bank(rows, monkeypatch):
    # The profiler of torch records every allocation of the call.
    monkeypatch.setattr(nearest_rows_module, "BANK_ROWS_AT_ONCE", 4096)
    bank, queries = torch.randn(rows, 8), torch.randn(96, 8)
    labels = torch.arange(rows) % 3
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        knn_predict(bank, labels, queries, num_classes=3, k=5, chunk=32)
    held = peak = 0
    for event in sorted(
        (e for e in prof.profiler.kineto_results.events() if e.name() == "[memory]"),
        key=lambda e: e.start_ns(),
    ):
        held += event.nbytes()
        peak = max(peak, held)
    tile, table = 32 * 4096 * 4, 96 * rows * 4
    assert tile <= peak < 3 * tile < table / 5


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_with_and_without_onednn(dtype, onednn, monkeypatch):
    if not onednn:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    rows, block = torch.randn(5, 33).to(dtype), torch.randn(7, 33).to(dtype)
    exact = (rows.double()[:, None] * block.double()).sum(2)
    with torch.autocast("cpu", torch.bfloat16):  # must have no effect: bfloat16 has errors of 3e-3
        product = multiplier(block)(rows)
    assert product.dtype == dtype and product.is_contiguous()
    torch.testing.assert_close(product.double(), exact, atol=2e-5, rtol=1e-5)


def test_compacting_keeps_the_order_and_pads():
    tile = torch.arange(24.0).view(3, 8)
    marked = torch.zeros(3, 8).bool()
    marked[0, [1, 7]] = marked[2, 3] = True
    for width in (8, 7):  # a multiple of 8, viewed as integers, and another width
        values, rows = _compact(tile[:, -width:].contiguous(), marked[:, -width:].contiguous(), 108)
        off = 8 - width
        inf = float("inf")
        assert values.tolist() == [[1, 7], [-inf, -inf], [19, -inf]]
        assert rows[0].tolist() == [109 - off, 115 - off] and rows[2, 0] == 111 - off


def test_half_precision_votes_do_not_overflow():
    # exp(1 / .07) is 1.6e6, which overflows in float16.
    bank = torch.randn(30, 8).half()
    scores = knn_predict(bank, torch.arange(30) % 3, bank, num_classes=3, k=3)
    assert scores.dtype == torch.float32 and scores.isfinite().all()
    assert torch.equal(scores.argmax(1), torch.arange(30) % 3)


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
def test_wrong_arguments(change, words):
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


def test_no_queries_have_no_scores():
    scores = knn_predict(torch.randn(5, 3), torch.arange(5), torch.empty(0, 3), num_classes=5, k=2)
    assert scores.shape == (0, 5)


def test_rows_that_are_not_finite_are_counted_across_parts(monkeypatch):
    monkeypatch.setattr(rows_module, "ROWS_AT_ONCE", 3)
    features = torch.zeros(10, 2)
    features[4, 1], features[8, 0], features[9, 0] = float("inf"), -float("inf"), float("nan")
    with pytest.raises(InputError, match="bank: 3 of 10 rows are not finite, the first is row 4"):
        check_rows("bank", features)
    check_rows("bank", features[:4])
    check_rows("bank", features[:0])
