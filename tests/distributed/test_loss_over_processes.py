"""Two or three gloo processes with equal shares of a batch equal one process with all of it."""

import socket

import pytest
import torch
import torch.distributed as dist

from bam_mm.losses import IMPLEMENTATIONS, LossSettings, bam_loss
from bam_mm.losses.chunked import arrangement as rows
from tests.distributed.processes import run_processes
from tests.losses.test_bam_loss import inputs

CASES = [
    dict(views=views, rows=kind, top_k=top_k, normalised=normalised, cold=0.05)
    for views in (2, 8)
    for kind in ("global", "all", None)
    for top_k in (0, 5)
    for normalised in (True, False)
] + [  # temperatures so low that the balancing works in log space
    dict(views=3, rows=kind, top_k=0, normalised=normalised, cold=0.004)
    for kind in ("all", None)
    for normalised in (True, False)
]
EVERY_TARGET = [
    dict(views=5, rows=kind, top_k=top_k, normalised=normalised, cold=cold, targets="all")
    for kind in ("all", None)
    for normalised in (True, False)
    for top_k, cold in ((0, 0.05), (5, 0.05), (0, 0.004))
]
CASES += EVERY_TARGET
RUNS = [(implementation, case) for implementation in IMPLEMENTATIONS for case in CASES]
RUNS_OF_THREE = [run for run in RUNS if run[1] in EVERY_TARGET]
BATCH, DIM, GLOBAL = 12, 16, 2


def loss_of(case, student, teacher, weight, batch, implementation="chunked"):
    """Compute the loss through a shared linear map, whose gradient can be compared."""
    teacher = {"all": teacher, "global": teacher[: GLOBAL * batch], None: None}[case["rows"]]
    return IMPLEMENTATIONS[implementation](
        student @ weight,
        None if teacher is None else teacher @ weight.detach(),
        num_views=case["views"],
        num_global=GLOBAL,
        settings=LossSettings(
            top_k=case["top_k"],
            global_normalisation=case["normalised"],
            target_temperature=case["cold"],
            target_views=case.get("targets", "global"),
        ),
        with_entropies=True,
    )


def data_of(case):
    student, teacher = inputs(3, BATCH, case["views"], DIM)
    generator = torch.Generator().manual_seed(5)
    return student, teacher, torch.randn(DIM, DIM, dtype=torch.float64, generator=generator)


def rows_of_rank(x, views, rank, world):
    per_view = x.view(views, BATCH, -1)
    share = BATCH // world
    return per_view[:, rank * share : (rank + 1) * share].reshape(views * share, -1)


def work(rank, world, out):
    # Several chunks of the images here, but a single chunk in the reference process.
    rows.BUDGETS["cpu"] = rows.Budget(chunk=6000, kept=6000)
    results = []
    for implementation, case in RUNS if world == 2 else RUNS_OF_THREE:
        student, teacher, weight = data_of(case)
        views = case["views"]
        weight.requires_grad_()
        matching = loss_of(
            case,
            rows_of_rank(student, views, rank, world),
            rows_of_rank(teacher, views, rank, world),
            weight,
            BATCH // world,
            implementation,
        )
        matching.loss.backward()
        dist.all_reduce(weight.grad)
        results.append(
            (
                matching.loss.item(),
                weight.grad / world,
                matching.attention_entropy.item(),
                matching.target_entropy.item(),
            )
        )
    torch.save(results, f"{out}/{rank}.pt")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def results_of(world, folder):
    run_processes(work, world, str(folder))
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    return results_of(2, tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def three_processes(tmp_path_factory):
    return results_of(3, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("index", range(len(RUNS)), ids=lambda i: str(RUNS[i]))
def test_loss_gradient_and_entropies(two_processes, index):
    compare(RUNS[index][1], [results[index] for results in two_processes])


@pytest.mark.parametrize("index", range(len(RUNS_OF_THREE)), ids=lambda i: str(RUNS_OF_THREE[i]))
def test_three_processes(three_processes, index):
    compare(RUNS_OF_THREE[index][1], [results[index] for results in three_processes])


def compare(case, results):
    """Compare the results of every rank with those of one process."""
    student, teacher, weight = data_of(case)
    weight.requires_grad_()
    whole = loss_of(case, student, teacher, weight, BATCH)
    whole.loss.backward()
    for loss, gradient, attention, target in results:
        assert loss == pytest.approx(whole.loss.item(), abs=1e-10)
        torch.testing.assert_close(gradient, weight.grad, atol=1e-10, rtol=0)
        assert attention == pytest.approx(whole.attention_entropy.item(), abs=1e-10)
        assert target == pytest.approx(whole.target_entropy.item(), abs=1e-10)


def test_the_comparison_can_fail():
    # Without the other half of the keys, the loss is different.
    student, teacher, weight = data_of(CASES[0])
    half = BATCH // 2
    loss = bam_loss(
        rows_of_rank(student, 2, 0, 2) @ weight,
        rows_of_rank(teacher, 2, 0, 2) @ weight,
        num_views=2,
        num_global=GLOBAL,
    )
    whole = loss_of(CASES[0], student, teacher, weight, BATCH).loss
    assert half == 6 and abs(loss - whole) > 0.1
