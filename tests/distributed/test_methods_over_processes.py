"""One, two and three gloo processes train the other methods alike with the same images."""

import pytest
import torch
import torch.distributed as dist

from bam_mm import BYOL, DINO, NNCLR, InputError, MoCoV3, ReLIC, SimCLR, SwAV
from tests.distributed.processes import run_processes
from tests.methods.tiny import centre_of, images, layout_of, network_model

CASES = {
    "DINO": (DINO, layout_of(2, 0), dict(centre_momentum=0.5)),
    "DINO, local views": (DINO, layout_of(2, 2), dict(centre_momentum=0.5)),
    "DINO, trained length": (DINO, layout_of(2, 1), dict(norm_last_layer=False)),
    "NNCLR": (NNCLR, layout_of(), dict(queue_size=12)),
    "NNCLR, other negatives": (NNCLR, layout_of(), dict(queue_size=12, negatives="other")),
    "NNCLR, odd queue": (NNCLR, layout_of(), dict(queue_size=16)),
    "NNCLR, queue of a batch": (NNCLR, layout_of(), dict(queue_size=6)),
    "ReLIC": (ReLIC, layout_of(), dict(invariance_weight=2.0)),
    "ReLIC, local views": (ReLIC, layout_of(2, 2), dict()),
    "ReLIC, three global views": (ReLIC, layout_of(3, 1), dict()),
    "BYOL": (BYOL, layout_of(), dict()),
    "MoCo v3": (MoCoV3, layout_of(), dict(temperature=0.3)),
    "SwAV": (SwAV, layout_of(2, 2), dict(epsilon=0.2)),
    "SimCLR": (SimCLR, layout_of(), dict(temperature=0.3)),
}
BATCH, STEPS, RATE, MOMENTUM = 6, 4, 0.3, 0.8


def train(case, rank=0, world=1):
    """Train a few steps with this process's images. Return losses, gradients and the last state."""
    kind, layout, settings = CASES[case]
    model = network_model(kind, layout, **settings)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    share = slice(rank * BATCH // world, (rank + 1) * BATCH // world)
    losses, gradients = [], []
    for step in range(STEPS):
        views = [x[share] for x in images(layout, BATCH, seed=step, channels=3)]
        loss = model.loss(views)["loss"]
        gradient = torch.autograd.grad(loss, list(trained.values()))
        # DistributedDataParallel averages the gradients of the processes.
        gradient = [mean_over(world, x) for x in gradient]
        losses.append(mean_over(world, loss.detach()).item())
        gradients.append(dict(zip(trained, gradient, strict=True)))
        with torch.no_grad():
            for p, x in zip(trained.values(), gradient, strict=True):
                p.sub_(RATE * x)
        if getattr(model, "teacher", None) is not None:
            model.update_teacher(MOMENTUM)
    return {"losses": losses, "gradients": gradients, "state": model.state_dict()}


def mean_over(world, x):
    x = x.clone()
    if world > 1:
        dist.all_reduce(x)
    return x / world


def work(rank, world, folder):
    results = {case: train(case, rank, world) for case in CASES}
    torch.save(results, f"{folder}/{rank}.pt")
    # The rows of all processes must fit into the queue, not only those of one.
    model = network_model(NNCLR, layout_of(), queue_size=BATCH - 1)
    with pytest.raises(InputError, match=f"queue_size={BATCH - 1}"):
        model.loss([x[: BATCH // world] for x in images(layout_of(), BATCH, channels=3)])


@pytest.fixture(scope="module", params=[2, 3])
def processes(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    run_processes(work, request.param, str(folder))
    return [torch.load(folder / f"{r}.pt", weights_only=True) for r in range(request.param)]


@pytest.mark.parametrize("case", CASES)
def test_loss_gradient_and_state(processes, case):
    whole = train(case)
    for found in (results[case] for results in processes):
        assert found["losses"] == pytest.approx(whole["losses"], abs=1e-10)
        for mine, wanted in zip(found["gradients"], whole["gradients"], strict=True):
            assert mine.keys() == wanted.keys()
            for name in wanted:
                close(mine[name], wanted[name])
        # Parameters, the teacher's too, and the centre or the queue.
        assert found["state"].keys() == whole["state"].keys()
        for name, value in whole["state"].items():
            close(found["state"][name], value)
    assert whole["losses"][0] != pytest.approx(whole["losses"][-1], abs=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_the_comparison_can_fail(case):
    # Without the other half of the images, loss or centre are different.
    kind, layout, settings = CASES[case]
    views = images(layout, BATCH, channels=3)
    losses, centres = [], []
    for share in (slice(None), slice(3), slice(3, None)):
        model = network_model(kind, layout, **settings)
        losses.append(model.loss([x[share] for x in views])["loss"].item())
        centres.append(centre_of(model) if kind is DINO else torch.zeros(1))
    if kind in (DINO, BYOL):  # The first loss is a mean over images.
        assert sum(losses[1:]) / 2 == pytest.approx(losses[0], abs=1e-10)
        assert kind is BYOL or (centres[1] - centres[0]).abs().max() > 1e-4
    else:
        assert abs(sum(losses[1:]) / 2 - losses[0]) > 1e-2


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)
