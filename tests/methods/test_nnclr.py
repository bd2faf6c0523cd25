"""NNCLR's loss, queue and first training step equal slow references in float64."""

import copy
import math

import pytest
import torch

from bam_mm import NNCLR, InputError
from tests.methods.tiny import (
    WIDTH,
    close,
    convolved,
    gradients,
    images,
    layout_of,
    means,
    network_model,
    perceptron,
    queue_of,
    recorded,
    rows_model,
    step_by_hand,
    step_of,
    trained_leaves,
)
from tests.reference.nnclr import SlowQueue, slow_nnclr_loss

pytestmark = pytest.mark.slow

NEGATIVES = ["both", "other"]


def random_queue(model, seed=3):
    """Fill the queue with rows of several lengths, and return a slow one with the same rows."""
    table = queue_of(model)
    generator = torch.Generator().manual_seed(seed)
    table.copy_(2 * torch.randn(table.shape, generator=generator, dtype=table.dtype))
    return SlowQueue(table)


def directions(table):
    return table / table.norm(dim=1, keepdim=True)


def rows_by_hand(model, views):
    """Compute both views' projections and predictions of a model of linear maps."""
    z = [x @ model.neck.weight.T for x in means(views)]
    return z, [x @ model.predictor.weight.T for x in z]


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("batch", [2, 3, 7])
def test_loss_and_gradient_equal_the_reference(batch, negatives, temperature):
    layout = layout_of()
    model = rows_model(NNCLR, layout, negatives=negatives, temperature=temperature)
    queue = random_queue(model)
    views = images(layout, batch)
    loss = model.loss(views)["loss"]
    loss.backward()
    (z, _), (p, gradient) = recorded(model.neck), recorded(model.predictor)
    predictions = [x.clone().requires_grad_() for x in p.chunk(2)]
    wanted = slow_nnclr_loss(
        z.chunk(2), predictions, queue, temperature=temperature, negatives=negatives
    )
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-8)
    wanted.backward()
    close(gradient, gradients(predictions))
    assert gradient.abs().max() > 1e-3


def test_the_default_is_the_loss_over_all_rows():
    layout = layout_of()
    views = images(layout, 4)
    found = []
    for setting in (dict(), dict(negatives="both", temperature=0.1), dict(negatives="other")):
        model = rows_model(NNCLR, layout, **setting)
        random_queue(model)
        found.append(model.loss(views)["loss"].item())
    assert found[0] == found[1] != found[2]


def test_neighbours_have_no_gradient():
    # The projections are used only through the predictor: its input's gradient is all there is.
    layout = layout_of()
    model = rows_model(NNCLR, layout)
    random_queue(model)
    views = images(layout, 4)
    model.loss(views)["loss"].backward()
    _, of_predictions = recorded(model.predictor)
    _, of_projections = recorded(model.neck)
    close(of_projections, of_predictions @ model.predictor.weight.detach())


@pytest.mark.parametrize("negatives", NEGATIVES)
@pytest.mark.parametrize("size,batch", [(12, 4), (10, 4), (8, 3), (4, 4), (5, 4), (9, 3)])
def test_the_queue_over_several_steps(size, batch, negatives):
    layout = layout_of()
    model = rows_model(NNCLR, layout, queue_size=size, negatives=negatives)
    queue = random_queue(model)
    for step in range(7):
        views = images(layout, batch, seed=step)
        z, p = rows_by_hand(model, views)
        wanted = slow_nnclr_loss(z, p, queue, temperature=0.1, negatives=negatives)
        # Both views are looked up before the rows of the second one are added.
        assert model.loss(views)["loss"].item() == pytest.approx(wanted.item(), abs=1e-8)
        close(directions(queue_of(model)), directions(queue.table()))
    assert queue_of(model).shape == (size, WIDTH)


def test_a_row_of_this_batch_is_no_neighbour_in_it():
    # The second view's own rows would be its nearest neighbours.
    layout = layout_of()
    model = rows_model(NNCLR, layout, queue_size=4)
    queue = random_queue(model)
    views = images(layout, 4)
    before = model.loss(views)["loss"].item()
    close(directions(queue_of(model)), directions(rows_by_hand(model, views)[0][1].detach()))
    again = model.loss(views)["loss"].item()
    z, p = rows_by_hand(model, views)
    slow_nnclr_loss(z, p, queue, temperature=0.1, negatives="both")
    wanted = slow_nnclr_loss(z, p, queue, temperature=0.1, negatives="both")
    assert again == pytest.approx(wanted.item(), abs=1e-8)
    assert abs(again - before) > 1e-3


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_the_first_training_step(negatives):
    layout = layout_of()
    model = network_model(NNCLR, layout, negatives=negatives, temperature=0.2)
    queue = random_queue(model)
    views = images(layout, 5, channels=3)
    state = trained_leaves(model)
    z = [perceptron(state, "neck.", convolved(state, "backbone.", view)) for view in views]
    p = [perceptron(state, "predictor.", rows) for rows in z]
    wanted = slow_nnclr_loss(z, p, queue, temperature=0.2, negatives=negatives)
    after, norm = step_by_hand(state, wanted, rate=0.5)

    loss, gradient_norm = step_of(model, views, rate=0.5)
    assert loss == pytest.approx(wanted.item(), abs=1e-8)
    assert gradient_norm == pytest.approx(norm, abs=1e-8) and norm > 0.01
    close(directions(queue_of(model)), directions(queue.table()))
    for name, parameter in model.named_parameters():
        close(parameter.detach(), after[name])
        assert not torch.equal(after[name], state[name].detach())


def test_the_queue_goes_on_where_a_saved_state_ended():
    layout = layout_of()
    first = rows_model(NNCLR, layout, queue_size=10)
    random_queue(first)
    for step in range(2):
        first.loss(images(layout, 4, seed=step))
    second = rows_model(NNCLR, layout, queue_size=10)
    second.load_state_dict(first.state_dict())
    assert torch.equal(queue_of(first), queue_of(second))
    for step in range(2, 5):
        views = images(layout, 4, seed=step)
        assert first.loss(views)["loss"].item() == second.loss(views)["loss"].item()
        assert torch.equal(queue_of(first), queue_of(second))


def loss_of(model, views):
    """Compute the loss, and leave the queue as it was."""
    kept = copy.deepcopy(model.state_dict())
    loss = model.loss(views)["loss"].item()
    model.load_state_dict(kept)
    return loss


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_the_order_of_the_images_does_not_matter(negatives):
    layout = layout_of()
    model = network_model(NNCLR, layout, negatives=negatives)
    random_queue(model)
    views = images(layout, 6, channels=3)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    before = loss_of(model, views)
    assert loss_of(model, [x[order] for x in views]) == pytest.approx(before, abs=1e-10)
    assert abs(loss_of(model, [views[0][order], views[1]]) - before) > 1e-3


@pytest.mark.parametrize("negatives", NEGATIVES)
def test_the_length_of_rows_does_not_matter(negatives):
    layout = layout_of()
    model = rows_model(NNCLR, layout, negatives=negatives)
    random_queue(model)
    views = images(layout, 5)
    before = loss_of(model, views)
    with torch.no_grad():
        model.predictor.weight.mul_(7)
        assert loss_of(model, views) == pytest.approx(before, abs=1e-8)
        model.neck.weight.mul_(0.2)
        assert loss_of(model, views) == pytest.approx(before, abs=1e-8)
        queue_of(model).mul_(torch.linspace(0.5, 3, 16, dtype=torch.float64)[:, None])
        assert loss_of(model, views) == pytest.approx(before, abs=1e-8)
    scaled = [x * (1 + torch.arange(5.0))[:, None, None, None] for x in views]
    assert loss_of(model, scaled) == pytest.approx(before, abs=1e-8)


@pytest.mark.parametrize("batch", [2, 5])
def test_a_collapse_costs_the_logarithm_of_the_number_of_keys(batch):
    layout = layout_of()
    views = [torch.ones_like(x) for x in images(layout, batch)]
    for negatives, keys in (("both", 2 * batch - 1), ("other", batch)):
        model = rows_model(NNCLR, layout, negatives=negatives)
        with torch.no_grad():
            z = model.neck.weight.sum(dim=1)
            queue_of(model).copy_(z.expand(16, -1))
            model.predictor.weight.copy_(torch.eye(WIDTH))
        assert model.loss(views)["loss"].item() == pytest.approx(math.log(keys), abs=1e-10)


def test_limits_of_the_temperature():
    layout = layout_of()
    views = images(layout, 4)
    for negatives, keys in (("both", 7), ("other", 4)):
        model = rows_model(NNCLR, layout, negatives=negatives, temperature=1e9)
        random_queue(model)
        assert model.loss(views)["loss"].item() == pytest.approx(math.log(keys), abs=1e-6)
    # Orthogonal images whose neighbour is their own row: nothing is left at temperature 0.
    for negatives in NEGATIVES:
        model = rows_model(NNCLR, layout, negatives=negatives, temperature=1e-3, width=4)
        with torch.no_grad():
            model.neck.weight.copy_(torch.eye(4))
            model.predictor.weight.copy_(torch.eye(4))
            queue_of(model).copy_(torch.eye(4).repeat(4, 1))
        units = [torch.eye(4, dtype=torch.float64)[:, :, None, None]] * 2
        assert model.loss(units)["loss"].item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "setting,word",
    [
        (dict(temperature=0.0), "temperature=0"),
        (dict(temperature=-0.1), "temperature=-0.1"),
        (dict(queue_size=0), "queue_size=0"),
        (dict(channels=0), "channels=0"),
        (dict(negatives="all"), "negatives='all'.*both.*other"),
    ],
)
def test_settings_out_of_range(setting, word):
    with pytest.raises(InputError, match=word):
        rows_model(NNCLR, layout_of(), **setting)


@pytest.mark.parametrize("num_global,num_local", [(3, 0), (2, 1), (1, 3), (1, 1)])
def test_a_layout_of_other_than_two_views(num_global, num_local):
    with pytest.raises(InputError, match=r"num_global"):
        rows_model(NNCLR, layout_of(num_global, num_local))


def test_a_single_view():
    with pytest.raises(InputError, match=r"1 global and 0 local"):
        rows_model(NNCLR, layout_of(1, 0))


def test_a_batch_of_one_image():
    model = rows_model(NNCLR, layout_of())
    with pytest.raises(InputError, match=r"batch of 1 .*batch_size"):
        model.loss(images(layout_of(), 1))


def test_a_queue_smaller_than_the_batch():
    model = rows_model(NNCLR, layout_of(), queue_size=3)
    with pytest.raises(InputError, match=r"4 images.*queue_size=3"):
        model.loss(images(layout_of(), 4))


def test_a_queue_of_another_width_than_the_projector():
    model = rows_model(NNCLR, layout_of(), channels=WIDTH + 1)
    with pytest.raises(InputError, match=f"channels={WIDTH + 1}"):
        model.loss(images(layout_of(), 4))
