"""SimCLR's loss and first training step equal slow references in float64."""

import math

import pytest
import torch

from bam_mm import InputError, SimCLR
from tests.methods.tiny import (
    close,
    convolved,
    gradients,
    images,
    layout_of,
    leaves,
    network_model,
    perceptron,
    recorded,
    rows_model,
    step_by_hand,
    step_of,
    trained_leaves,
)
from tests.reference.nnclr import slow_nt_xent


@pytest.mark.parametrize("batch", [2, 5])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_loss_and_gradient_equal_the_reference(batch, temperature):
    model = rows_model(SimCLR, layout_of(), temperature=temperature)
    loss = model.loss(images(layout_of(), batch))["loss"]
    loss.backward()
    rows, gradient = recorded(model.neck)
    views = leaves(rows, 2)
    wanted = slow_nt_xent(*views, temperature)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-8)
    wanted.backward()
    close(gradient, gradients(views))
    assert gradient.abs().max() > 1e-5


def test_the_first_training_step():
    model = network_model(SimCLR, layout_of(), temperature=0.3)
    views = images(layout_of(), 4, channels=3)
    state = trained_leaves(model)
    rows = [perceptron(state, "neck.", convolved(state, "backbone.", x)) for x in views]
    wanted = slow_nt_xent(*rows, 0.3)
    after, norm = step_by_hand(state, wanted, 0.3)
    found = step_of(model, views, 0.3)
    assert found == pytest.approx((wanted.item(), norm), abs=1e-8) and norm > 0.1
    for name, value in model.state_dict().items():
        close(value, after[name])
    close(model.last_projection, torch.cat(rows).detach())


def test_equal_features_cost_the_logarithm_of_the_other_views():
    model = rows_model(SimCLR, layout_of())
    with torch.no_grad():
        model.neck.weight.zero_()
        model.neck.weight[0] = 1.0  # Positive images: one direction for all of them.
    views = [x.abs() for x in images(layout_of(), 4)]
    assert model.loss(views)["loss"].item() == pytest.approx(math.log(7), abs=1e-8)


@pytest.mark.parametrize("layout", [layout_of(2, 1), layout_of(3, 0)])
def test_other_views(layout):
    with pytest.raises(InputError, match="compares two views"):
        rows_model(SimCLR, layout)


def test_a_temperature_out_of_range():
    with pytest.raises(InputError, match=r"model\.head\.temperature=0"):
        rows_model(SimCLR, layout_of(), temperature=0)


def test_a_batch_of_one_image():
    with pytest.raises(InputError, match="batch_size"):
        rows_model(SimCLR, layout_of()).loss(images(layout_of(), 1))
