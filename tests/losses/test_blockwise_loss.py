"""The loss without global normalisation: a slow reference, invariances, limits, wrong arguments."""

import math

import pytest
import torch

from bam_mm.losses import LossSettings, bam_loss, match_attention
from tests.losses.test_bam_loss import inputs
from tests.reference.slow_blockwise_loss import slow_blockwise_loss


def both(rows, views, glob, *, batch=5, **settings):
    """Loss and gradient, of the package and of the loops."""
    student, teacher = inputs(21, batch, views, 6)
    teacher = {"all": teacher, "global": teacher[: glob * batch], None: None}[rows]
    settings = dict(num_views=views, num_global=glob, temperature=0.2, **settings)
    results = []
    for loss, extra in ((bam_loss, dict(global_normalisation=False)), (slow_blockwise_loss, {})):
        x = student.clone().requires_grad_()
        value = loss(x, teacher, **settings, **extra)
        results.append((value.item(), *torch.autograd.grad(value, x)))
    return results


@pytest.mark.parametrize("rows", ["global", "all", None])
@pytest.mark.parametrize("views,glob", [(2, 2), (2, 1), (5, 2), (4, 3)])
@pytest.mark.parametrize(
    "iters,masked,top_k", [(3, True, 0), (1, False, 0), (0, True, 0), (2, True, 3)]
)
def test_equals_the_slow_reference(rows, views, glob, iters, masked, top_k):
    (value, gradient), (slow, slow_gradient) = both(
        rows, views, glob, target_temperature=0.07, sinkhorn_iters=iters, mask_positives=masked,
        top_k=top_k,
    )  # fmt: skip
    assert value == pytest.approx(slow, abs=1e-10)
    torch.testing.assert_close(gradient, slow_gradient, atol=1e-10, rtol=0)


def test_one_global_view_has_one_block_and_knows_no_difference():
    student, teacher = inputs(22, 7, 4, 8)
    settings = dict(num_views=4, num_global=1)
    blockwise = bam_loss(student, teacher[:7], global_normalisation=False, **settings)
    assert blockwise.item() == pytest.approx(bam_loss(student, teacher[:7], **settings).item())


def test_it_is_another_loss_and_ignores_local_teacher_rows():
    student, teacher = inputs(23, 7, 4, 8)
    settings = dict(num_views=4, num_global=2, global_normalisation=False)
    blockwise = bam_loss(student, teacher[:14], **settings).item()
    assert bam_loss(student, teacher, **settings).item() == blockwise
    assert abs(bam_loss(student, teacher[:14], num_views=4, num_global=2).item() - blockwise) > 0.1


def test_loss_of_uniform_features_is_the_logarithm_of_one_views_keys():
    ones = torch.ones(16, 4, dtype=torch.float64)
    matching = match_attention(
        ones, ones, num_views=2, num_global=2, with_entropies=True,
        settings=LossSettings(global_normalisation=False),
    )  # fmt: skip
    for value in (matching.loss, matching.attention_entropy, matching.target_entropy):
        assert value.item() == pytest.approx(math.log(7), abs=1e-12)


def test_permuting_images_changes_nothing():
    student, teacher = inputs(25, 9, 4, 8)
    settings = dict(num_views=4, num_global=2, global_normalisation=False)
    expected = bam_loss(student, teacher[:18], **settings)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([order + 9 * v for v in range(4)])
    shuffled = bam_loss(student[rows] * 3.0, teacher[rows][:18] * 0.2, **settings)
    assert shuffled.item() == pytest.approx(expected.item(), abs=1e-12)


def test_more_top_k_than_one_views_keys_is_refused():
    student, teacher = inputs(26, 4, 2, 8)
    settings = dict(num_views=2, num_global=2, top_k=4)
    bam_loss(student, teacher, **settings)
    with pytest.raises(ValueError, match=r"top_k=4.* attends to 3 keys .*each view by itself"):
        bam_loss(student, teacher, global_normalisation=False, **settings)
