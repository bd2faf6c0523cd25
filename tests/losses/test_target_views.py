"""Targets from the local views: a slow reference, cases by hand, invariances, wrong arguments."""

import math

import pytest
import torch

from bam_mm.losses import LossSettings, bam_loss, match_attention, plain_bam_loss
from tests.losses.test_bam_loss import inputs
from tests.losses.test_chunked_loss import small_chunks
from tests.reference.slow_pairs_loss import slow_pairs_loss

LOSSES = pytest.mark.parametrize("loss", [bam_loss, plain_bam_loss])


def value_and_gradient(loss, student, teacher, **settings):
    x = student.clone().requires_grad_()
    value = loss(x, teacher, **settings)
    return value.detach(), *torch.autograd.grad(value, x)


@LOSSES
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("teacherless", [False, True])
@pytest.mark.parametrize("views,glob", [(2, 1), (5, 2), (4, 3)])
@pytest.mark.parametrize(
    "iters,masked,top_k", [(3, True, 0), (1, False, 0), (0, True, 0), (2, True, 3)]
)
def test_equals_the_slow_reference(
    monkeypatch, loss, views, glob, iters, masked, top_k, teacherless, normalised
):
    student, teacher = inputs(71, 5, views, 6)
    teacher = None if teacherless else teacher
    settings = dict(
        num_views=views, num_global=glob, temperature=0.2, target_temperature=0.07,
        sinkhorn_iters=iters, mask_positives=masked, top_k=top_k, global_normalisation=normalised,
        target_views="all",
    )  # fmt: skip
    small_chunks(monkeypatch, 2, keys=5 * glob, views=views)
    value, gradient = value_and_gradient(loss, student, teacher, **settings)
    slow, slow_gradient = value_and_gradient(slow_pairs_loss, student, teacher, **settings)
    assert value.item() == pytest.approx(slow.item(), abs=1e-10)
    torch.testing.assert_close(gradient, slow_gradient, atol=1e-10, rtol=0)


@pytest.mark.parametrize("views,glob", [(5, 2), (4, 3)])
def test_the_reference_with_global_targets_is_the_default(views, glob):
    student, teacher = inputs(72, 5, views, 6)
    settings = dict(num_views=views, num_global=glob, temperature=0.2, target_temperature=0.07)
    slow = slow_pairs_loss(student, teacher, sinkhorn_iters=3, target_views="global", **settings)
    assert bam_loss(student, teacher, **settings).item() == pytest.approx(slow.item(), abs=1e-10)


def axes(*kinds):
    """Rows of two images and these views: (1, 0) and (0, 1), or the other way around."""
    straight = torch.eye(2, dtype=torch.float64)
    return torch.cat([straight if kind == "straight" else straight.flip(0) for kind in kinds])


@LOSSES
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_two_views_by_hand(loss, iterations):
    # Attention: a = e/(1+e) to the key of the own image, 1 - a to the other. The targets of the
    # global view have q = e^2/(1+e^2) there; those of the local view, whose rows are exchanged,
    # 1 - q. All columns of the four rows have the same sum, so balancing changes nothing.
    settings = dict(
        num_views=2, num_global=1, temperature=1.0, target_temperature=0.5, mask_positives=False,
        sinkhorn_iters=iterations,
    )  # fmt: skip
    rows = axes("straight", "straight"), axes("straight", "exchanged")
    q = math.e**2 / (1 + math.e**2)
    # Global target, local source: -(q log a + (1 - q) log(1 - a)).
    only_global = loss(*rows, **settings).item()
    assert only_global == pytest.approx(math.log(1 + math.e) - q, abs=1e-12)
    # Local target, global source: q and 1 - q exchanged. The mean of both: -log(a (1 - a)) / 2.
    both = loss(*rows, target_views="all", **settings).item()
    assert both == pytest.approx(math.log(1 + math.e) - 0.5, abs=1e-12)


@LOSSES
def test_all_pairs_have_the_same_weight(loss):
    # As above with two equal global views, so that attention to one key is half as large: a pair
    # with a global target has c - q, a pair with a local target c - (1 - q). There are 2 * 3 and
    # 2 * 2 of them. (A mean over targets of means over sources would have c - 1/2.)
    rows = axes(*["straight"] * 4), axes("straight", "straight", "exchanged", "exchanged")
    settings = dict(
        num_views=4, num_global=2, temperature=1.0, target_temperature=0.5, mask_positives=False,
        target_views="all",
    )  # fmt: skip
    q, c = math.e**2 / (1 + math.e**2), math.log(2) + math.log(1 + math.e)
    wanted = c - (6 * q + 4 * (1 - q)) / 10
    assert loss(*rows, **settings).item() == pytest.approx(wanted, abs=1e-12)


@LOSSES
@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("top_k", [0, 3])
@pytest.mark.parametrize("teacherless", [False, True])
def test_without_local_views_nothing_changes(loss, normalised, top_k, teacherless):
    student, teacher = inputs(73, 6, 3, 8)
    settings = dict(num_views=3, num_global=3, top_k=top_k, global_normalisation=normalised)
    teacher = None if teacherless else teacher
    default, explicit, every = (
        value_and_gradient(loss, student, teacher, **settings, **change)
        for change in ({}, dict(target_views="global"), dict(target_views="all"))
    )
    for found in (explicit, every):
        assert all(torch.equal(x, wanted) for x, wanted in zip(found, default, strict=True))


@LOSSES
@pytest.mark.parametrize("normalised", [True, False])
def test_local_targets_only_reach_the_global_views(loss, normalised):
    views, glob, batch = 5, 2, 6
    student, teacher = inputs(74, batch, views, 8)
    settings = dict(num_views=views, num_global=glob, global_normalisation=normalised)
    value, gradient = value_and_gradient(loss, student, teacher, **settings)
    every, of_every = value_and_gradient(loss, student, teacher, target_views="all", **settings)
    assert abs(every - value) > 0.01
    # A local view's pairs are the same with both; only the number of pairs in the mean differs.
    pairs = glob * (views - 1), glob * (views - 1) + glob * (views - glob)
    local = slice(glob * batch, None)
    torch.testing.assert_close(
        of_every[local] * pairs[1], gradient[local] * pairs[0], atol=1e-12, rtol=0
    )
    assert (of_every * pairs[1] - gradient * pairs[0])[: glob * batch].abs().max() > 0.01


@LOSSES
@pytest.mark.parametrize("normalised", [True, False])
def test_order_of_images_and_of_views_and_length_of_rows_change_nothing(loss, normalised):
    views, glob, batch = 5, 2, 7
    student, teacher = inputs(75, batch, views, 8)
    settings = dict(
        num_views=views, num_global=glob, global_normalisation=normalised, target_views="all"
    )
    wanted = loss(student, teacher, **settings).item()
    images = torch.randperm(batch, generator=torch.Generator().manual_seed(0))
    for order in ([0, 1, 2, 3, 4], [1, 0, 2, 3, 4], [0, 1, 4, 2, 3]):
        rows = torch.cat([images + batch * view for view in order])
        found = loss(student[rows] * 3.0, teacher[rows] * 0.2, **settings).item()
        assert found == pytest.approx(wanted, abs=1e-12)
    # A local view in the place of a global one is another loss.
    rows = torch.cat([images + batch * view for view in [2, 1, 0, 3, 4]])
    assert abs(loss(student[rows], teacher[rows], **settings).item() - wanted) > 1e-3


def test_gradient_is_that_of_finite_differences():
    student, teacher = inputs(76, 4, 4, 5)
    settings = dict(num_views=4, num_global=2, target_views="all")
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: bam_loss(x, teacher, **settings), (student,))
    # Without a teacher the keys move too; the targets do not if they are uniform anyway.
    settings["target_temperature"] = 1e9
    assert torch.autograd.gradcheck(lambda x: bam_loss(x, None, **settings), (student,))


def test_entropy_of_the_targets_is_that_of_all_of_them():
    # Keys are eight axes, twice. The teacher's rows of the global views are an axis each, close to
    # two keys; those of the local views are as close to all 16, as are all rows of the student.
    axis, even = torch.eye(8, dtype=torch.float64), torch.ones(8, 8, dtype=torch.float64)
    settings = LossSettings(
        sinkhorn_iters=0, target_temperature=1e-3, mask_positives=False, target_views="all"
    )
    matching = match_attention(
        even.repeat(4, 1), torch.cat([axis, axis, even, even]), num_views=4, num_global=2,
        settings=settings, with_entropies=True,
    )  # fmt: skip
    assert matching.target_entropy.item() == pytest.approx((math.log(2) + math.log(16)) / 2)
    assert matching.attention_entropy.item() == pytest.approx(math.log(16))


@LOSSES
def test_wrong_arguments(loss):
    student = torch.randn(4 * 3, 6)
    arguments = dict(num_views=4, num_global=2)
    with pytest.raises(ValueError, match=r"target_views='local': choose 'global' or 'all'"):
        loss(student, student, target_views="local", **arguments)
    words = (
        r"teacher has 6 rows, those of the 2 global views, but target_views='all' .* all 4 views: "
        r"pass the teacher's 12 rows .*model\.teacher_views=all.* target_views='global'"
    )
    with pytest.raises(ValueError, match=words):
        loss(student, student[:6], target_views="all", **arguments)
    with pytest.raises(ValueError, match=r"must have 6 rows .* or 12 rows"):
        loss(student, student[:9], target_views="all", **arguments)
