"""BYOL and MoCo v3: loss and first training step equal slow references in float64."""

import math

import pytest
import torch

from bam_mm import BYOL, InputError, MoCoV3
from tests.methods.tiny import (
    close,
    convolved,
    gradients,
    images,
    layout_of,
    leaves,
    means,
    moved_teacher,
    network_model,
    perceptron,
    recorded,
    rows_model,
    step_by_hand,
    step_of,
    trained_leaves,
)
from tests.reference.momentum import slow_byol_loss, slow_mocov3_loss

SETTINGS = {BYOL: {}, MoCoV3: dict(temperature=0.3)}


def slow(kind, predictions, targets):
    if kind is BYOL:
        return slow_byol_loss(predictions, targets)
    return slow_mocov3_loss(predictions, targets, **SETTINGS[kind])


@pytest.fixture(params=SETTINGS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.mark.parametrize("batch", [2, 5])
def test_loss_and_gradient_equal_the_reference(kind, batch):
    model = rows_model(kind, layout_of(), **SETTINGS[kind])
    views = images(layout_of(), batch)
    loss = model.loss(views)["loss"]
    loss.backward()
    rows, gradient = recorded(model.predictor)
    predictions = leaves(rows, 2)
    targets = [x @ model.teacher.neck.weight.T for x in means(views)]
    wanted = slow(kind, predictions, targets)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-8)
    wanted.backward()
    close(gradient, gradients(predictions))
    assert gradient.abs().max() > 1e-5


def test_the_first_training_step(kind):
    model = network_model(kind, layout_of(), **SETTINGS[kind])
    views = images(layout_of(), 4, channels=3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = trained_leaves(model)
    rows = [perceptron(state, "neck.", convolved(state, "backbone.", x)) for x in views]
    predictions = [perceptron(state, "predictor.", row) for row in rows]
    teacher = [convolved(state, "teacher.backbone.", x) for x in views]
    targets = [perceptron(state, "teacher.neck.", x) for x in teacher]
    wanted = slow(kind, predictions, targets)
    after, norm = step_by_hand(state, wanted, 0.3)
    assert step_of(model, views, 0.3) == pytest.approx((wanted.item(), norm), abs=1e-8)
    assert norm > 0.05
    close(model.last_projection, torch.cat(rows).detach())
    model.update_teacher(0.9)
    after |= moved_teacher(before, after, 0.9)
    for name, value in model.state_dict().items():
        close(value, after[name])


def test_equal_features():
    views = [x.abs() for x in images(layout_of(), 4)]
    for kind, value in ((BYOL, 0.0), (MoCoV3, 4 * 0.3 * math.log(4))):
        model = rows_model(kind, layout_of(), **SETTINGS[kind])
        with torch.no_grad():
            for part in (model.neck, model.teacher.neck, model.predictor):
                part.weight.zero_()
                part.weight[0] = 1.0  # Positive images: one direction for all of them.
        assert model.loss(views)["loss"].item() == pytest.approx(value, abs=1e-8)


def test_the_teacher_keeps_statistics_of_its_own(kind):
    """mmpretrain's momentum models copy the student's statistics in every step."""
    model = network_model(kind, layout_of(), norm=True, **SETTINGS[kind])
    views = images(layout_of(), 4, channels=3)
    model.loss(views)
    statistics = {n: b.clone() for n, b in model.teacher.named_buffers() if "running_mean" in n}
    model.update_teacher(0.5)
    assert statistics
    for name, value in statistics.items():
        close(dict(model.teacher.named_buffers())[name], value)
        assert (dict(model.named_buffers())[name] - value).abs().max() > 1e-4


@pytest.mark.parametrize("layout", [layout_of(2, 1), layout_of(3, 0), layout_of(1, 1)])
def test_other_views(kind, layout):
    with pytest.raises(InputError, match="compares two views"):
        rows_model(kind, layout, **SETTINGS[kind])


def test_a_batch_of_one_image():
    with pytest.raises(InputError, match=r"batch of 1 .*batch_size"):
        rows_model(MoCoV3, layout_of()).loss(images(layout_of(), 1))


def test_a_temperature_out_of_range():
    with pytest.raises(InputError, match=r"model\.head\.temperature=-1"):
        rows_model(MoCoV3, layout_of(), temperature=-1)
