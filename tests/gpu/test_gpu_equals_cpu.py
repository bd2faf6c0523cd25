"""Loss, training step, kNN, label propagation and its score on a GPU equal those on a CPU."""

import copy

import numpy as np
import pytest
import torch

from bam_mm.evaluation import davis_j_and_f, knn_predict, propagate_labels
from bam_mm.evaluation.logistic_regression import fit_logistic_regression
from bam_mm.losses import bam_loss
from tests.gpu import DEVICE, NEEDS_DEVICE
from tests.models.test_bam import build, views

pytestmark = NEEDS_DEVICE
TOLERANCE = 1e-4  # float32 sums in another order


@pytest.fixture(autouse=True)
def full_float32():
    """Switch TF32 off."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def apart(got, expected):
    """Return the norm of the difference, relative to that of the expected tensor."""
    return ((got.cpu().double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize("setting", [{}, dict(top_k=16), dict(sinkhorn_iters=0)])
def test_loss_and_gradient(setting):
    found = []
    for device in ("cpu", DEVICE):
        student = draw(8 * 256, 384).to(device).requires_grad_()
        loss = bam_loss(
            student, draw(2 * 256, 384, seed=1).to(device), num_views=8, num_global=2, **setting
        )
        loss.backward()
        found.append((loss.detach(), student.grad))
    for expected, got in zip(*found, strict=True):
        assert apart(got, expected) < TOLERANCE


def test_a_training_step():
    model = build()
    found = []
    for device in ("cpu", DEVICE):
        mine = copy.deepcopy(model).to(device).train()
        optimizer = torch.optim.SGD((p for p in mine.parameters() if p.requires_grad), lr=0.5)
        before = mine.backbone.layers[0].ffn.layers[1].weight.detach().clone()
        mine.loss([view.to(device) for view in views()])["loss"].backward()
        optimizer.step()
        mine.update_teacher(0.9)
        assert not torch.equal(before, mine.backbone.layers[0].ffn.layers[1].weight)
        found.append(mine.state_dict())
    for name, expected in found[0].items():
        if expected.is_floating_point() and expected.norm() > 0:
            assert apart(found[1][name], expected) < TOLERANCE, name


def test_knn():
    centres = draw(10, 64)
    labels = torch.arange(4000) % 10
    bank = centres[labels] + 2 * draw(4000, 64, seed=1)
    queries = centres.repeat(50, 1) + 2 * draw(500, 64, seed=2)
    votes = [
        knn_predict(bank.to(d), labels.to(d), queries.to(d), num_classes=10, k=20)
        for d in ("cpu", DEVICE)
    ]
    assert apart(votes[1], votes[0]) < TOLERANCE
    agree = (votes[1].argmax(dim=1).cpu() == votes[0].argmax(dim=1)).double().mean()
    assert agree > 0.995


def test_logistic_regression():
    labels = torch.arange(600) % 5
    features = (draw(5, 32)[labels] + draw(600, 32, seed=1)).double()
    fits = [
        fit_logistic_regression(features.to(d), labels.to(d), num_classes=5, penalty=1.0)
        for d in ("cpu", DEVICE)
    ]
    assert apart(fits[1].weight, fits[0].weight) < TOLERANCE


def test_label_propagation_and_its_score():
    height, width, classes = 30, 40, 3
    base = draw(height * width, 48)
    context = torch.stack([base + 0.5 * draw(height * width, 48, seed=s) for s in (1, 2, 3)])
    target = base + 0.5 * draw(height * width, 48, seed=4)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    first = (rows > 10).long() + ((rows > 10) & (columns > 20)).long()
    labels = torch.nn.functional.one_hot(first, classes).permute(2, 0, 1).float()
    labels = labels.expand(3, -1, -1, -1)
    found = [
        propagate_labels(
            target.to(d), context.to(d), labels.to(d), grid=(height, width), topk=5, radius=12
        )
        for d in ("cpu", DEVICE)
    ]
    assert apart(found[1], found[0]) < TOLERANCE
    scores = []
    for soft in found:
        masks = soft.argmax(dim=0).cpu().numpy().astype(np.uint8)
        video = np.stack([first.numpy().astype(np.uint8), masks, masks])
        truth = np.stack([first.numpy().astype(np.uint8)] * 3)
        scores.append(davis_j_and_f(truth, video))
    for expected, got in zip(*scores, strict=True):
        assert expected["J_mean"] > 0.5
        assert got == pytest.approx(expected, rel=TOLERANCE, nan_ok=True)
