"""ReLIC's loss and first training step equal slow references in float64."""

import math

import pytest
import torch

from bam_mm import InputError, ReLIC
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
from tests.reference.relic import slow_relic_loss

pytestmark = pytest.mark.slow

LAYOUTS = [(2, 0), (2, 1), (2, 3), (3, 0), (3, 2)]


def teacher_rows(model, views):
    return [x @ model.teacher.neck.weight.T for x in means(views)[: model.layout.num_global]]


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("batch", [2, 5])
@pytest.mark.parametrize("num_global,num_local", LAYOUTS)
def test_loss_and_gradient_equal_the_reference(num_global, num_local, batch, weight):
    layout = layout_of(num_global, num_local)
    model = rows_model(ReLIC, layout, temperature=0.2, invariance_weight=weight)
    views = images(layout, batch)
    loss = model.loss(views)["loss"]
    loss.backward()
    rows, gradient = recorded(model.neck)
    student = leaves(rows, len(views))
    wanted = slow_relic_loss(
        student, teacher_rows(model, views), temperature=0.2, invariance_weight=weight
    )
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-8)
    wanted.backward()
    close(gradient, gradients(student))
    assert gradient.abs().max() > 1e-4


def test_the_defaults():
    layout = layout_of()
    views = images(layout, 4)
    default = rows_model(ReLIC, layout).loss(views)["loss"].item()
    stated = rows_model(ReLIC, layout, temperature=0.1, invariance_weight=1.0)
    assert default == stated.loss(views)["loss"].item()


def test_two_images_by_hand():
    # Unit rows in the plane: the student sees the images at 0 and 90 degrees in both views, the
    # teacher at 0 and 90 degrees in the first view, and at 60 and 150 degrees in the second one.
    layout = layout_of()
    model = rows_model(ReLIC, layout, temperature=0.5, invariance_weight=3.0, width=2)
    views = [torch.zeros(2, 4, 1, 1, dtype=torch.float64) for _ in range(2)]
    for v, view in enumerate(views):
        view[0, 2 * v], view[1, 2 * v + 1] = 1, 1
    cos, sin = 0.5, math.sqrt(0.75)
    student, teacher = model.neck.weight, model.teacher.neck.weight
    with torch.no_grad():
        student.copy_(student.new_tensor([[1.0, 0, 1, 0], [0, 1, 0, 1]]))
        teacher.copy_(teacher.new_tensor([[1.0, 0, cos, -sin], [0, 1, sin, cos]]))
    # View 0 finds the keys of view 1: similarities 0.5 and -0.866 of image 0, 0.866 and 0.5 of
    # image 1. View 1 finds the keys of view 0: 1 and 0 of image 0, 0 and 1 of image 1.
    forth = [1 / (1 + math.exp(2 * (-sin - cos))), 1 / (1 + math.exp(2 * (sin - cos)))]
    back = [1 / (1 + math.exp(-2))] * 2
    contrast = -sum(math.log(p) for p in forth + back) / 4

    def divergence(p, q):
        return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))

    pairs = list(zip(forth, back, strict=True))
    invariance = sum(divergence(p, q) + divergence(q, p) for p, q in pairs) / 4
    found = model.loss(views)["loss"].item()
    assert found == pytest.approx(contrast + 3 * invariance, abs=1e-10)


@pytest.mark.parametrize("num_local", [0, 2])
def test_the_first_training_step(num_local):
    layout = layout_of(2, num_local)
    model = network_model(ReLIC, layout, temperature=0.2, invariance_weight=1.5)
    views = images(layout, 4, channels=3)
    state = trained_leaves(model)

    def project(prefix, view):
        return perceptron(state, f"{prefix}neck.", convolved(state, f"{prefix}backbone.", view))

    wanted = slow_relic_loss(
        [project("", view) for view in views],
        [project("teacher.", view) for view in views[:2]],
        temperature=0.2,
        invariance_weight=1.5,
    )
    after, norm = step_by_hand(state, wanted, rate=0.5)

    loss, gradient_norm = step_of(model, views, rate=0.5)
    model.update_teacher(0.8)
    assert loss == pytest.approx(wanted.item(), abs=1e-8)
    assert gradient_norm == pytest.approx(norm, abs=1e-8) and norm > 0.01
    after |= moved_teacher(state, after, 0.8)
    for name, parameter in model.named_parameters():
        close(parameter.detach(), after[name])
        assert not torch.equal(after[name], state[name].detach())


def test_the_teacher_gets_no_gradient():
    layout = layout_of()
    model = network_model(ReLIC, layout)
    model.loss(images(layout, 3, channels=3))["loss"].backward()
    assert all(p.grad is None for p in model.teacher.parameters())


def loss_of(model, views):
    return model.loss(views)["loss"].item()


def test_the_order_of_the_images_does_not_matter():
    layout = layout_of(2, 1)
    model = network_model(ReLIC, layout)
    views = images(layout, 6, channels=3)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    before = loss_of(model, views)
    assert loss_of(model, [x[order] for x in views]) == pytest.approx(before, abs=1e-10)
    assert abs(loss_of(model, [views[0][order], *views[1:]]) - before) > 1e-3


def test_the_order_of_two_views_does_not_matter():
    # Both orders of a pair count.
    layout = layout_of()
    model = network_model(ReLIC, layout, invariance_weight=4.0)
    views = images(layout, 5, channels=3)
    assert loss_of(model, views[::-1]) == pytest.approx(loss_of(model, views), abs=1e-10)


def test_the_length_of_rows_does_not_matter():
    layout = layout_of(2, 1)
    model = rows_model(ReLIC, layout)
    views = images(layout, 5)
    before = loss_of(model, views)
    with torch.no_grad():
        model.neck.weight.mul_(7)
        model.teacher.neck.weight.mul_(0.3)
    scaled = [x * (1 + torch.arange(5.0))[:, None, None, None] for x in views]
    assert loss_of(model, views) == pytest.approx(before, abs=1e-8)
    assert loss_of(model, scaled) == pytest.approx(before, abs=1e-8)


@pytest.mark.parametrize("batch", [2, 5])
def test_a_collapse_costs_the_logarithm_of_the_batch(batch):
    layout = layout_of(2, 2)
    model = rows_model(ReLIC, layout, invariance_weight=10.0)
    views = [torch.ones_like(x) for x in images(layout, batch)]
    assert loss_of(model, views) == pytest.approx(math.log(batch), abs=1e-10)


def test_equal_views_have_no_divergence():
    layout = layout_of()
    view = images(layout, 5)[0]
    losses = [
        loss_of(rows_model(ReLIC, layout, invariance_weight=weight), [view, view])
        for weight in (0.0, 50.0)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-10)
    assert losses[0] > 0.01


def test_limits_of_the_temperature():
    layout = layout_of()
    model = rows_model(ReLIC, layout, temperature=1e9)
    assert loss_of(model, images(layout, 4)) == pytest.approx(math.log(4), abs=1e-6)
    model = rows_model(ReLIC, layout, temperature=1e-3, width=4)
    with torch.no_grad():
        for p in (model.neck.weight, model.teacher.neck.weight):
            p.copy_(torch.eye(4))
    units = [torch.eye(4, dtype=torch.float64)[:, :, None, None]] * 2
    assert loss_of(model, units) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "setting,word",
    [
        (dict(temperature=0.0), "temperature=0"),
        (dict(temperature=-0.1), "temperature=-0.1"),
        (dict(invariance_weight=-1.0), "invariance_weight=-1"),
        (dict(invariance_weight=math.nan), "invariance_weight=nan"),
    ],
)
def test_settings_out_of_range(setting, word):
    with pytest.raises(InputError, match=word):
        rows_model(ReLIC, layout_of(), **setting)


def test_a_single_view():
    with pytest.raises(InputError, match=r"1 global and 0 local"):
        rows_model(ReLIC, layout_of(1, 0))


def test_a_batch_of_one_image():
    model = rows_model(ReLIC, layout_of())
    with pytest.raises(InputError, match=r"batch of 1 .*batch_size"):
        model.loss(images(layout_of(), 1))
