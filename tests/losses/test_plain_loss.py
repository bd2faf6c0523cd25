"""The plain loss and the chunked one: equal in value, entropies and gradient over all settings."""

import pytest
import torch

from bam_mm.losses import (
    IMPLEMENTATIONS,
    LossSettings,
    bam_loss,
    match_attention,
    plain_bam_loss,
    plain_matching,
)
from tests.losses.test_bam_loss import GOLDEN, inputs
from tests.losses.test_chunked_loss import WAYS, small_chunks


def evaluate(function, student, teacher, **settings):
    x = student.clone().requires_grad_()
    matching = function(x, teacher, with_entropies=True, **settings)
    gradient = torch.autograd.grad(matching.loss, x)[0]
    return matching.loss, matching.attention_entropy, matching.target_entropy, gradient


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize(
    "which,targets",
    [("global", "global"), ("all", "global"), (None, "global"), ("all", "all"), (None, "all")],
)
@pytest.mark.parametrize("views,glob", [(2, 2), (2, 1), (5, 2), (4, 3)])
@pytest.mark.parametrize("iters,masked,top_k,cold", WAYS)
def test_plain_and_chunked_are_equal(
    monkeypatch, which, targets, views, glob, iters, masked, top_k, cold, normalised
):
    student, teacher = inputs(51, 7, views, 6)
    teacher = {"all": teacher, "global": teacher[: glob * 7], None: None}[which]
    settings = LossSettings(0.2, cold, iters, masked, top_k, normalised, targets)
    arguments = dict(num_views=views, num_global=glob, settings=settings)
    plain = evaluate(plain_matching, student, teacher, **arguments)
    small_chunks(monkeypatch, 3, keys=7 * glob, views=views)
    chunked = evaluate(match_attention, student, teacher, **arguments)
    for found, wanted in zip(chunked, plain, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-10, rtol=0)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: f"{c[0]}-seed{c[1]}-{c[3]}views")
def test_the_plain_loss_equals_the_released_one(case):
    rows, seed, batch, views, glob, dim, cold, warm, iters, masked, value, norm, _ = case
    student, teacher = inputs(seed, batch, views, dim)
    student.requires_grad_()
    loss = plain_bam_loss(
        student,
        {"all": teacher, "global": teacher[: glob * batch], None: None}[rows],
        num_views=views,
        num_global=glob,
        temperature=warm,
        target_temperature=cold,
        sinkhorn_iters=iters,
        mask_positives=masked,
    )
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-10)
    assert student.grad.norm().item() == pytest.approx(norm, abs=1e-10)


@pytest.mark.parametrize("teacherless", [False, True])
def test_half_precision_is_computed_in_float32(teacherless):
    student, teacher = (x.to(torch.bfloat16) for x in inputs(52, 24, 4, 16))
    teacher = None if teacherless else teacher[:48]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain, chunked = (
            loss(student, teacher, num_views=4, num_global=2, temperature=0.01)
            for loss in (plain_bam_loss, bam_loss)
        )
    assert plain.dtype is torch.float32
    assert plain.item() == pytest.approx(chunked.item(), rel=1e-5)


def test_the_plain_loss_has_a_second_derivative():
    student, teacher = inputs(53, 5, 2, 6)
    student.requires_grad_()
    loss = plain_bam_loss(student, teacher, num_views=2, num_global=2)
    [gradient] = torch.autograd.grad(loss, student, create_graph=True)
    assert torch.autograd.grad(gradient.square().sum(), student)[0].abs().sum() > 0


@pytest.mark.parametrize("change", [dict(top_k=7), dict(num_global=3), dict(temperature=0.0)])
def test_wrong_arguments_have_the_same_message(change):
    arguments = dict(num_views=2, num_global=2) | change
    messages = []
    for loss in (bam_loss, plain_bam_loss):
        with pytest.raises(ValueError) as raised:
            loss(torch.randn(8, 4), torch.randn(8, 4), **arguments)
        messages.append(str(raised.value))
    assert messages[0] == messages[1] and next(iter(change)) in messages[0]


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match="sinkhorn"):
        plain_bam_loss(torch.randn(8, 4), None, num_views=2, num_global=2, sinkhorn=3)


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        LossSettings().top_k = 3


def test_there_are_two_implementations():
    assert {"chunked": match_attention, "plain": plain_matching} == IMPLEMENTATIONS
