"""The SwAV losses of mmpretrain and of this package equal a slow reference on one process."""

import math

import pytest
import torch
from mmpretrain.models.losses.swav_loss import SwAVLoss, distributed_sinkhorn

from bam_mm import InputError, SwAV, SwAVHead, ViewLayout
from bam_mm.registry import MODELS
from tests.methods.tiny import close, gradients, layout_of, rows_model
from tests.reference.swav import slow_codes, slow_swav_loss

pytestmark = pytest.mark.slow

WIDTH, PROTOTYPES = 5, 7


def features(views, batch, seed=0):
    """Return view-major rows of unit length."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(views * batch, WIDTH, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def loss_module(num_crops, targets=(0, 1), epsilon=0.1, iterations=3):
    torch.manual_seed(0)
    return SwAVLoss(
        WIDTH,
        sinkhorn_iterations=iterations,
        epsilon=epsilon,
        temperature=0.2,
        crops_for_assign=list(targets),
        num_crops=list(num_crops),
        num_prototypes=PROTOTYPES,
    ).double()


def head(**more):
    """Build this package's head with the same settings and the same first prototypes."""
    settings = dict(channels=WIDTH, num_prototypes=PROTOTYPES)
    settings |= dict(temperature=0.2, epsilon=0.1, sinkhorn_iters=3)
    torch.manual_seed(0)
    return MODELS.build(dict(type="bam_mm.SwAVHead", **settings | more)).double()


def loss_of(module, rows, num_crops):
    """Return the loss of mmpretrain's module, or of this package's head."""
    if isinstance(module, SwAVHead):
        return module(rows, ViewLayout(*num_crops, *[0] * (2 - len(num_crops))))
    return module(rows)


@pytest.mark.parametrize("batch", [2, 5])
@pytest.mark.parametrize(
    "num_crops,targets,own",
    [
        ([2], (0, 1), False),
        ([2, 3], (0, 1), False),
        ([2, 1], (0,), False),
        ([2], (0, 1), True),
        ([2, 3], (0, 1), True),
        ([3, 1], (0, 1, 2), True),
    ],
)
def test_loss_and_gradients_equal_the_reference(num_crops, targets, own, batch):
    module = head() if own else loss_module(num_crops, targets)
    views = sum(num_crops)
    rows = features(views, batch).requires_grad_()
    loss = loss_of(module, rows, num_crops)
    loss.backward()
    # The loss normalises the prototypes in place, before it uses them.
    prototypes = module.prototypes.weight.detach().clone().requires_grad_()
    close(prototypes.norm(dim=1), torch.ones(PROTOTYPES, dtype=torch.float64))
    leaves = [x.clone().requires_grad_() for x in rows.detach().chunk(views)]
    # This package's head normalises the rows itself, so that their gradient is tangential.
    units = [x / x.norm(dim=1, keepdim=True) for x in leaves] if own else leaves
    wanted = slow_swav_loss(
        units, prototypes, targets=targets, temperature=0.2, epsilon=0.1, iterations=3
    )
    assert loss.item() == pytest.approx(wanted.item(), abs=1e-8)
    wanted.backward()
    # A single view that the others predict takes no part in its own prediction.
    close(rows.grad, gradients(leaves))
    close(module.prototypes.weight.grad, prototypes.grad)
    assert rows.grad.abs().max() > 1e-3


@pytest.mark.parametrize("iterations", [0, 1, 3, 200])
def test_the_codes(iterations):
    scores = features(1, 6) @ features(1, PROTOTYPES, seed=1).T
    found = distributed_sinkhorn(scores, iterations, world_size=1, epsilon=0.2)
    if iterations:
        wanted = slow_codes(scores, epsilon=0.2, iterations=iterations)
        close(found, torch.tensor(wanted, dtype=torch.float64))
        close(found.sum(dim=1), torch.ones(6, dtype=torch.float64))
    if iterations == 200:  # Every prototype then has the same share of the images.
        close(found.sum(dim=0), torch.full((PROTOTYPES,), 6 / PROTOTYPES, dtype=torch.float64))


def test_equal_features_cost_the_logarithm_of_the_number_of_prototypes():
    module = loss_module([2, 2])
    with torch.no_grad():
        module.prototypes.weight.copy_(torch.ones(PROTOTYPES, WIDTH))
    assert module(features(4, 3)).item() == pytest.approx(math.log(PROTOTYPES), abs=1e-10)
    module = head()
    with torch.no_grad():
        module.prototypes.weight.copy_(torch.ones(PROTOTYPES, WIDTH))
    assert loss_of(module, features(4, 3), [2, 2]).item() == pytest.approx(
        math.log(PROTOTYPES), abs=1e-10
    )


@pytest.mark.parametrize(
    "setting,word",
    [
        (dict(temperature=0.0), "temperature=0"),
        (dict(epsilon=-0.1), "epsilon=-0.1"),
        (dict(sinkhorn_iters=0), "sinkhorn_iters=0"),
        (dict(num_prototypes=0), "num_prototypes=0"),
        (dict(num_prototypes=10.5), "num_prototypes=10.5"),
    ],
)
def test_settings_out_of_range(setting, word):
    with pytest.raises(InputError, match=word):
        head(**setting)


def test_one_global_view():
    with pytest.raises(InputError, match=r"num_global=1.*at least 2"):
        rows_model(SwAV, layout_of(1, 3))


def test_a_neck_that_averages_maps():
    neck = dict(type="NonLinearNeck", in_channels=5, hid_channels=7, out_channels=WIDTH)
    with pytest.raises(InputError, match=r"with_avg_pool=True: set it to False"):
        SwAV(
            backbone=dict(type="TinyConvolution"),
            neck=neck,
            head=dict(type="bam_mm.SwAVHead", channels=WIDTH, num_prototypes=PROTOTYPES),
            layout=layout_of(),
        )
