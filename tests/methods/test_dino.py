"""DINO's loss, centre and first training step equal slow references in float64."""

import math

import pytest
import torch

from bam_mm import DINO, InputError
from tests.methods.tiny import (
    LAST,
    centre_of,
    change_teacher,
    close,
    convolved,
    dino_projection,
    gradients,
    images,
    layout_of,
    leaves,
    means,
    moved_teacher,
    network_model,
    recorded,
    rows_model,
    step_by_hand,
    step_of,
    trained_leaves,
)
from tests.reference.dino import (
    slow_centre,
    slow_dino_loss,
    slow_gradient,
    slow_target_temperature,
    softmax,
)

pytestmark = pytest.mark.slow

LAYOUTS = [(2, 0), (2, 1), (2, 4), (1, 1), (1, 3), (3, 0), (3, 2)]
HEAD = dict(temperature=0.3, target_temperature=0.2, warmup_target_temperature=0.2)
TEMPERATURES = dict(temperature=0.3, target_temperature=0.2)


def random_centre(model, seed=5):
    generator = torch.Generator().manual_seed(seed)
    centre = centre_of(model)
    centre.copy_(0.5 * torch.randn(centre.shape, generator=generator, dtype=centre.dtype))
    return centre.clone()


def teacher_rows(model, views):
    return [x @ model.teacher.neck.weight.T for x in means(views)[: model.layout.num_global]]


@pytest.mark.parametrize("batch", [2, 5])
@pytest.mark.parametrize("num_global,num_local", LAYOUTS)
def test_loss_and_gradient_equal_the_reference(num_global, num_local, batch):
    layout = layout_of(num_global, num_local)
    model = rows_model(DINO, layout, **HEAD)
    centre = random_centre(model)
    views = images(layout, batch)
    loss = model.loss(views)["loss"]
    loss.backward()
    rows, gradient = recorded(model.neck)
    student, teacher = leaves(rows, len(views)), teacher_rows(model, views)
    wanted = slow_dino_loss(student, teacher, centre, **TEMPERATURES)
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-8)
    wanted.backward()
    close(gradient, gradients(student))
    by_hand = slow_gradient(student, teacher, centre, **TEMPERATURES)
    close(gradient, torch.tensor(by_hand, dtype=torch.float64).flatten(0, 1))
    assert gradient.abs().max() > 1e-3


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_centre_over_three_steps(momentum):
    layout = layout_of(2, 2)
    model = rows_model(DINO, layout, centre_momentum=momentum, **HEAD)
    assert torch.equal(centre_of(model), torch.zeros(6, dtype=torch.float64))
    centre = centre_of(model).clone()
    for step in range(3):
        views = images(layout, 3, seed=step)
        # The loss uses the centre of the steps before.
        student = [x @ model.neck.weight.T for x in means(views)]
        teacher = teacher_rows(model, views)
        wanted = slow_dino_loss(student, teacher, centre, **TEMPERATURES)
        assert model.loss(views)["loss"].item() == pytest.approx(wanted.item(), abs=1e-8)
        centre = slow_centre(centre, teacher, momentum)
        close(centre_of(model), centre)


@pytest.mark.parametrize("warmup_epochs", [0, 1, 2, 4])
@pytest.mark.parametrize("epoch", [0, 1, 3, 4, 9])
def test_the_target_temperature_of_an_epoch(warmup_epochs, epoch):
    layout = layout_of(2, 1)
    model = rows_model(
        DINO,
        layout,
        temperature=0.3,
        target_temperature=0.21,
        warmup_target_temperature=0.12,
        warmup_epochs=warmup_epochs,
    )
    model.head.epoch = epoch
    views = images(layout, 3)
    cold = slow_target_temperature(epoch, warmup=0.12, final=0.21, warmup_epochs=warmup_epochs)
    wanted = slow_dino_loss(
        [x @ model.neck.weight.T for x in means(views)],
        teacher_rows(model, views),
        centre_of(model).clone(),
        temperature=0.3,
        target_temperature=cold,
    )
    assert model.loss(views)["loss"].item() == pytest.approx(wanted.item(), abs=1e-8)


def test_target_temperatures_of_a_warm_up_by_hand():
    found = [
        slow_target_temperature(epoch, warmup=0.04, final=0.07, warmup_epochs=4)
        for epoch in range(5)
    ]
    assert found == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07])


@pytest.mark.parametrize("warmup_epochs", [0, 3])
def test_the_target_temperature_is_as_exact_as_the_outputs(warmup_epochs):
    # Outputs near the centre: the target is far from one-hot, and depends on its temperature. A
    # temperature of 0.04 in float32 is off by 2e-8 of itself.
    layout = layout_of(2, 0)
    cold = dict(target_temperature=0.04, warmup_target_temperature=0.04)
    model = rows_model(DINO, layout, warmup_epochs=warmup_epochs, **cold)
    views = [0.05 * x for x in images(layout, 4)]
    wanted = slow_dino_loss(
        [x @ model.neck.weight.T for x in means(views)],
        teacher_rows(model, views),
        centre_of(model).clone(),
        temperature=0.1,
        target_temperature=0.04,
    )
    assert model.loss(views)["loss"].item() == pytest.approx(wanted.item(), rel=1e-12)


def projections_by_hand(state, prefix, views):
    features = torch.cat([convolved(state, f"{prefix}backbone.", view) for view in views])
    return dino_projection(state, f"{prefix}neck.", features)


STEPS = [
    dict(num_local=0),
    dict(num_local=2),
    dict(num_local=0, norm=True),
    dict(num_local=0, norm=True, num_layers=2),
    dict(num_local=2, norm=True),
    dict(num_local=1, norm_last_layer=False),
    dict(num_local=1, num_layers=2),
]


@pytest.mark.parametrize("case", STEPS, ids=str)
def test_the_first_training_step(case):
    case = dict(case)
    layout = layout_of(2, case.pop("num_local"))
    model = network_model(DINO, layout, **HEAD, **case)
    centre = random_centre(model)
    views = images(layout, 4, channels=3)
    state = trained_leaves(model)
    student = projections_by_hand(state, "", views)
    teacher = projections_by_hand(state, "teacher.", views[:2]).detach().chunk(2)
    wanted = slow_dino_loss(student.chunk(len(views)), teacher, centre, **TEMPERATURES)
    after, norm = step_by_hand(state, wanted, rate=0.5)

    loss, gradient_norm = step_of(model, views, rate=0.5)
    model.update_teacher(0.8)
    assert loss == pytest.approx(wanted.item(), abs=1e-8)
    assert gradient_norm == pytest.approx(norm, abs=1e-8) and norm > 0.01
    close(centre_of(model), slow_centre(centre, teacher, 0.9))
    after |= moved_teacher(state, after, 0.8)
    for name, parameter in model.named_parameters():
        close(parameter.detach(), after[name])
    trained = [name for name, value in state.items() if value.requires_grad]
    still = [name for name in trained if torch.equal(after[name], state[name].detach())]
    # BatchNorm takes a bias before it away.
    assert not still or (case.get("norm") and all(name.endswith(".bias") for name in still))


def test_the_teacher_takes_no_part_in_the_training():
    layout = layout_of(2, 1)
    model = network_model(DINO, layout)
    before = {name: p.clone() for name, p in model.teacher.named_parameters()}
    step_of(model, images(layout, 3, channels=3), rate=0.5)
    assert all(torch.equal(p, before[name]) for name, p in model.teacher.named_parameters())
    assert all(p.grad is None for p in model.teacher.parameters())


def test_the_length_of_the_last_layer_is_fixed_on_request():
    # Then every output is a cosine.
    layout = layout_of(2, 0)
    for fixed in (True, False):
        model = network_model(DINO, layout, norm_last_layer=fixed)
        last = [
            p
            for name, p in model.neck.named_parameters()
            if name.endswith(("weight_g", "original0"))
        ]
        assert [p.requires_grad for p in last] == [not fixed]
        assert last[0].shape == (LAST, 1)
        if fixed:
            rows = model.neck(model.backbone(images(layout, 50, channels=3)[0]))
            assert torch.equal(last[0], torch.ones_like(last[0]))
            assert 0.3 < rows.abs().max() <= 1 + 1e-12


def test_the_projector_normalises_what_its_last_layer_gets():
    layout = layout_of(2, 0)
    model = network_model(DINO, layout, num_layers=2)
    images_ = images(layout, 4, channels=3)[0]
    before = model.neck(model.backbone(images_))
    named = dict(model.neck.named_parameters())
    *_, weight = [name for name, p in named.items() if name.endswith(".weight") and p.ndim == 2]
    with torch.no_grad():
        for name in (weight, weight.replace(".weight", ".bias")):
            named[name].mul_(3)
    close(model.neck(model.backbone(images_)), before, 1e-12)


def loss_of(model, views, centre=None):
    """Compute the loss with a centre, and leave the centre of the model as it was."""
    kept = centre_of(model).clone()
    if centre is not None:
        centre_of(model).copy_(centre)
    loss = model.loss(views)["loss"].item()
    centre_of(model).copy_(kept)
    return loss


def test_the_order_of_the_images_does_not_matter():
    layout = layout_of(2, 3)
    model = network_model(DINO, layout, **HEAD)
    views = images(layout, 6, channels=3)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    assert loss_of(model, [x[order] for x in views]) == pytest.approx(
        loss_of(model, views), abs=1e-10
    )
    # It matters that the views of an image stay together.
    mixed = loss_of(model, [x if v else x[order] for v, x in enumerate(views)])
    assert abs(mixed - loss_of(model, views)) > 1e-3


def test_a_shift_of_teacher_and_centre_does_not_matter():
    # Rows of means whose first number is 1 in every view: its column of the weight is a shift.
    layout = layout_of(2, 2)
    model = rows_model(DINO, layout, **HEAD)
    views = images(layout, 4)
    for view in views:
        view[:, 0] = 1.0
    centre = random_centre(model)
    before = loss_of(model, views, centre)
    shift = torch.linspace(-1, 1, 6, dtype=torch.float64)
    with torch.no_grad():
        model.teacher.neck.weight[:, 0] += shift
    assert loss_of(model, views, centre + shift) == pytest.approx(before, abs=1e-10)
    assert abs(loss_of(model, views, centre) - before) > 1e-3
    with torch.no_grad():  # One number added to all outputs of the student.
        model.neck.weight[:, 0] += 2.5
    assert loss_of(model, views, centre + shift) == pytest.approx(before, abs=1e-10)


def test_outputs_that_do_not_depend_on_the_class_cost_the_logarithm_of_their_number():
    layout = layout_of(2, 4)
    model = rows_model(DINO, layout)
    with torch.no_grad():
        model.neck.weight.zero_()
    # Whatever the target is, since it sums to 1.
    assert loss_of(model, images(layout, 3)) == pytest.approx(math.log(6), abs=1e-12)


def test_a_collapse_onto_one_row_by_hand():
    layout = layout_of(2, 1)
    model = rows_model(DINO, layout, centre_momentum=0.5, **HEAD)
    views = [torch.ones_like(x) for x in images(layout, 4)]
    with torch.no_grad():
        model.teacher.neck.weight.copy_(model.neck.weight)
    row = model.neck.weight.sum(dim=1).tolist()
    log_p = [math.log(p) for p in softmax([x / 0.3 for x in row])]
    target = softmax([x / 0.2 for x in row])
    sharp = -sum(q * x for q, x in zip(target, log_p, strict=True))
    assert loss_of(model, views) == pytest.approx(sharp, abs=1e-10)
    # The centre takes the row away from the target, which is then uniform.
    uniform = -sum(log_p) / 6
    assert loss_of(model, views, torch.tensor(row, dtype=torch.float64)) == pytest.approx(
        uniform, abs=1e-10
    )
    for _ in range(50):
        model.loss(views)
    assert loss_of(model, views) == pytest.approx(uniform, abs=1e-10)


def test_limits_of_the_temperatures():
    layout = layout_of(2, 1)
    views = images(layout, 4)
    model = rows_model(DINO, layout, temperature=1e9)
    assert loss_of(model, views) == pytest.approx(math.log(6), abs=1e-6)
    cold = dict(target_temperature=1e-5, warmup_target_temperature=1e-5)
    model = rows_model(DINO, layout, temperature=0.3, **cold)
    student = [(x @ model.neck.weight.T / 0.3).log_softmax(dim=1) for x in means(views)]
    best = [x.argmax(dim=1) for x in teacher_rows(model, views)]
    terms = [
        -student[v][i, best[g][i]].item()
        for g in range(2)
        for v in range(3)
        if v != g
        for i in range(4)
    ]
    assert loss_of(model, views) == pytest.approx(sum(terms) / len(terms), abs=1e-8)


def test_a_batch_of_one_image_has_a_loss():
    # No term compares images with each other.
    layout = layout_of(2, 1)
    model = rows_model(DINO, layout, **HEAD)
    views = images(layout, 3)
    single = [loss_of(model, [x[i : i + 1] for x in views]) for i in range(3)]
    assert sum(single) / 3 == pytest.approx(loss_of(model, views), abs=1e-10)


@pytest.mark.parametrize(
    "setting,word",
    [
        (dict(temperature=0.0), "temperature=0"),
        (dict(temperature=-0.1), "temperature=-0.1"),
        (dict(target_temperature=0.0), "target_temperature=0"),
        (dict(warmup_target_temperature=-1.0), "warmup_target_temperature=-1"),
        (dict(warmup_epochs=-2), "warmup_epochs=-2"),
        (dict(centre_momentum=1.0), "centre_momentum=1.0"),
        (dict(centre_momentum=1.5), "centre_momentum=1.5"),
        (dict(centre_momentum=-0.5), "centre_momentum=-0.5"),
        (dict(out_channels=0), "out_channels=0"),
        (dict(temperature=math.nan), "temperature=nan"),
    ],
)
def test_settings_out_of_range(setting, word):
    with pytest.raises(InputError, match=word):
        rows_model(DINO, layout_of(), **setting)


@pytest.mark.parametrize("setting", [dict(num_layers=0), dict(num_layers=1)])
def test_a_projector_without_a_hidden_layer(setting):
    with pytest.raises(InputError, match=f"num_layers={setting['num_layers']}"):
        network_model(DINO, layout_of(), **setting)


def test_a_single_view():
    with pytest.raises(InputError, match=r"1 global and 0 local"):
        rows_model(DINO, layout_of(1, 0))


def test_a_head_of_another_width_than_the_projector():
    with pytest.raises(InputError, match=r"neck.out_channels=6.*head.out_channels=9"):
        rows_model(DINO, layout_of(), out_channels=9)


def test_unequal_teachers_give_unequal_losses():
    # The comparisons above could not tell a teacher from the student otherwise.
    layout = layout_of(2, 0)
    model = rows_model(DINO, layout, **HEAD)
    views = images(layout, 4)
    before = loss_of(model, views)
    change_teacher(model)
    assert abs(loss_of(model, views) - before) > 1e-3


def test_entropies_of_a_monitored_step():
    layout = layout_of(2, 1)
    model = rows_model(DINO, layout, temperature=0.3, target_temperature=0.2, warmup_epochs=3)
    model.head.epoch, model.head.monitor = 1, True
    centre = random_centre(model)
    views = images(layout, 4)
    model.loss(views)
    student = [x @ model.neck.weight.T for x in means(views)]

    def mean_entropy(rows, temperature, centre):
        entropies = [
            -sum(p * math.log(p) for p in softmax(((row - centre) / temperature).tolist()))
            for row in torch.cat(rows)
        ]
        return sum(entropies) / len(entropies)

    # Halfway between the default 0.04 at the start and 0.2.
    found = {name: value.item() for name, value in model.head.entropies.items()}
    assert found == pytest.approx(
        {
            "attention_entropy": mean_entropy(student, 0.3, 0 * centre),
            "target_entropy": mean_entropy(teacher_rows(model, views), 0.12, centre),
        },
        abs=1e-8,
    )
