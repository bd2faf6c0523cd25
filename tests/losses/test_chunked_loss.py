"""The loss by chunks: equal to the matrices in memory, whatever the chunks; what it allocates."""

import math
from functools import partial

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bam_mm.losses import LossSettings, bam_loss, match_attention
from bam_mm.losses.chunked import arrangement as rows
from bam_mm.losses.chunked.products import Keys
from benchmarks.baselines.materialised_loss import materialised_loss, released_way
from tests.losses.test_bam_loss import inputs

WAYS = [  # iterations, masked, top-k; .004 is too low for exp, even in float64
    (3, True, 0, 0.07), (3, True, 0, 0.004), (1, False, 0, 0.004), (0, True, 0, 0.07),
    (0, False, 0, 0.004), (2, True, 3, 0.07),
]  # fmt: skip


def small_chunks(monkeypatch, images, *, keys, views, size=8, kept=0):
    """Let a chunk hold so many images, and the balancing keep so many bytes."""
    chunk = images * keys * views * size
    monkeypatch.setitem(rows.BUDGETS, "cpu", rows.Budget(chunk=chunk, kept=kept))


def evaluate(function, student, teacher, **settings):
    """Loss, entropies and gradient of a function that returns the first three."""
    x = student.clone().requires_grad_()
    value, *entropies = function(x, teacher, with_entropies=True, **settings)
    return [value.detach(), *entropies, *torch.autograd.grad(value, x)]


def in_chunks(*arguments, num_views, num_global, with_entropies=False, **settings):
    matching = match_attention(
        *arguments,
        num_views=num_views,
        num_global=num_global,
        settings=LossSettings(**settings),
        with_entropies=with_entropies,
    )
    return matching.loss, matching.attention_entropy, matching.target_entropy


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("which", ["global", "all", None])
@pytest.mark.parametrize("views,glob", [(2, 2), (2, 1), (5, 2), (4, 3)])
@pytest.mark.parametrize("iters,masked,top_k,cold", WAYS)
def test_equals_the_matrices_in_memory(
    monkeypatch, which, views, glob, iters, masked, top_k, cold, normalised
):
    student, teacher = inputs(31, 7, views, 6)
    teacher = {"all": teacher, "global": teacher[: glob * 7], None: None}[which]
    settings = dict(
        num_views=views, num_global=glob, temperature=0.2, target_temperature=cold,
        sinkhorn_iters=iters, mask_positives=masked, top_k=top_k, global_normalisation=normalised,
    )  # fmt: skip
    wanted = evaluate(materialised_loss, student, teacher, **settings)
    # 7 images in chunks of 3, 3 and 1; one chunk's scores are kept, those of the others are not.
    small_chunks(monkeypatch, 3, keys=7 * glob, views=views, kept=8 * 3 * 7 * glob * views)
    for found, value in zip(evaluate(in_chunks, student, teacher, **settings), wanted, strict=True):
        torch.testing.assert_close(found, value, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "images,kept", [(1, 0), (2, 1 << 20), (5, 0), (5, 2000), (11, 0), (100, 1 << 20)]
)
@pytest.mark.parametrize("cold", [0.05, 0.004])
def test_the_size_of_chunks_changes_nothing(monkeypatch, images, kept, cold):
    student, teacher = inputs(32, 11, 4, 6)
    settings = dict(num_views=4, num_global=2, target_temperature=cold)
    wanted = evaluate(in_chunks, student, teacher, **settings)
    small_chunks(monkeypatch, images, keys=22, views=4, kept=kept)
    for found, value in zip(evaluate(in_chunks, student, teacher, **settings), wanted, strict=True):
        torch.testing.assert_close(found, value, atol=1e-12, rtol=0)


def test_the_baselines_agree_where_they_mean_the_same():
    student, teacher = inputs(33, 9, 4, 6)
    settings = dict(num_views=4, num_global=2)
    released = released_way(student, teacher, **settings)
    assert released.item() == pytest.approx(materialised_loss(student, teacher, **settings).item())


class Largest(TorchDispatchMode):
    """Record how many elements the largest tensor has that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(x, torch.Tensor):
                self.elements = max(self.elements, x.numel())
        return out


@pytest.mark.parametrize(
    "which,targets", [("global", "global"), ("all", "global"), (None, "global"), ("all", "all")]
)
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("cold", [0.05, 0.004])
def test_no_tensor_is_larger_than_a_chunk_or_the_features(
    monkeypatch, which, targets, normalised, cold
):
    batch, views, glob, dim = 80, 4, 2, 8
    student, teacher = inputs(34, batch, views, dim)
    teacher = {"all": teacher, "global": teacher[: glob * batch], None: None}[which]
    keys = glob * batch
    settings = dict(
        num_views=views, num_global=glob, target_temperature=cold, global_normalisation=normalised
    )
    sizes = {}
    ours = partial(bam_loss, target_views=targets)
    for name, loss in (("ours", ours), ("materialised", materialised_loss)):
        with monkeypatch.context() as patch, Largest() as largest:
            small_chunks(patch, 3, keys=keys, views=views)
            loss(student.clone().requires_grad_(), teacher, **settings).backward()
        sizes[name] = largest.elements
    assert sizes["ours"] <= max(3 * views * keys, views * batch * dim)
    assert sizes["materialised"] == views * batch * keys > 15 * sizes["ours"]


def test_kept_scores_stay_within_their_budget(monkeypatch):
    student, teacher = inputs(35, 30, 4, 8)
    one = 8 * 4 * 5 * 60  # the teacher's scores of a chunk of 5 images, bytes
    small_chunks(monkeypatch, 5, keys=60, views=4, kept=2 * one + one // 2)
    products, scores = [], Keys.scores

    def counted(self, x):
        products.append(x.shape)
        return scores(self, x)

    monkeypatch.setattr(Keys, "scores", counted)
    bam_loss(student, teacher, num_views=4, num_global=2)
    # 6 chunks. First iteration all; second and third the 4 that did not fit; then the targets of
    # those 4, of the global views only, and the student's 6.
    assert products.count((4, 5, 8)) == 6 + 4 + 4 + 6
    assert products.count((2, 5, 8)) == 4


def outlier(batch, dim=16):
    """All images alike but one, whose features point the other way: columns of exp underflow."""
    x = torch.ones(2, batch, dim, dtype=torch.float64)
    x += 1e-3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    x[:, batch // 2] *= -1
    return x.flatten(0, 1)


@pytest.mark.parametrize("cold", [0.05, 0.01, 0.005])
@pytest.mark.parametrize("batch", [3, 24])
@pytest.mark.parametrize("iterations", [1, 3, 20])
def test_an_outlier_image_underflows_nothing(cold, batch, iterations):
    student = outlier(batch)
    settings = dict(
        num_views=2, num_global=2, temperature=2 * cold, target_temperature=cold,
        sinkhorn_iters=iterations,
    )  # fmt: skip
    exact = evaluate(materialised_loss, student, student, **settings)
    found = evaluate(in_chunks, student.float(), student.float(), **settings)
    for x, wanted in zip(found, exact, strict=True):
        assert x.isfinite().all()
        # float32 holds a cosine to 6e-8; divided by .005 and times 2 matters.
        torch.testing.assert_close(x.double(), wanted, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("cold", [0.05, 0.01, 0.005])
def test_identical_rows_are_uniform(cold):
    student = torch.ones(2 * 12, 8)
    settings = dict(num_views=2, num_global=2, temperature=cold, target_temperature=cold)
    value, *entropies, gradient = evaluate(in_chunks, student, student, **settings)
    for x in (value, *entropies):
        assert x.item() == pytest.approx(math.log(22), abs=1e-4)
    assert gradient.abs().max() < 1e-5


def test_gradient_can_be_asked_for_again_but_not_differentiated():
    student, teacher = inputs(36, 6, 2, 8)
    student.requires_grad_()
    loss = bam_loss(student, teacher, num_views=2, num_global=2)
    first, second = (
        torch.autograd.grad(c * loss, student, retain_graph=True)[0] for c in (1.0, 3.0)
    )
    torch.testing.assert_close(second, 3 * first)
    with pytest.raises(RuntimeError, match=r"create_graph=True.*no second deriv"):
        torch.autograd.grad(loss, student, create_graph=True)


def test_float16_gradients_survive_until_they_are_scaled():
    student, teacher = (x.half() for x in inputs(37, 64, 4, 32))
    student, teacher = 10_000 * student, teacher[:128]  # long rows have small gradients

    def gradient(dtype, scale):
        x = student.to(dtype).requires_grad_()
        loss = bam_loss(x, teacher.to(dtype), num_views=4, num_global=2)
        return torch.autograd.grad(scale * loss, x)[0]

    exact, found = gradient(torch.float32, 65536.0), gradient(torch.float16, 65536.0)
    assert found.dtype is torch.float16
    torch.testing.assert_close(found.float(), exact, rtol=2e-3, atol=1e-6)
    # Unscaled, float16 would have lost most of these.
    assert ((exact / 65536).half() == 0).float().mean() > 0.5


@pytest.mark.parametrize("teacherless", [False, True])
def test_gradient_is_formed_only_where_it_is_wanted(monkeypatch, teacherless):
    student, teacher = inputs(38, 6, 4, 8)
    teacher = None if teacherless else teacher
    settings = dict(num_views=4, num_global=2)
    wanted = bam_loss(student.clone().requires_grad_(), teacher, **settings)
    for product in ("pull", "push"):
        monkeypatch.setattr(Keys, product, lambda *_, **__: pytest.fail("a gradient is formed"))
    plain = bam_loss(student, teacher, **settings)
    with torch.no_grad():
        other = bam_loss(student.clone().requires_grad_(), teacher, **settings)
    assert not (plain.requires_grad or other.requires_grad) and wanted.requires_grad
    assert plain.item() == other.item() == wanted.item()
