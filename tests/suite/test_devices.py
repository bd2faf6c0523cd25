"""Which GPUs the workers of a benchmark have; the number of GPUs is simulated."""

import sys
from pathlib import Path

import pytest
import torch

from bam_mm import InputError
from bam_mm.suite.workers import worker_gpus
from tests.suite.test_running import runs

VISIBLE = "CUDA_VISIBLE_DEVICES"


@pytest.fixture
def shares(tmp_path, monkeypatch):
    """A function that returns the GPUs of each worker of a plan, joined, and the messages."""

    def of(*, gpus, visible=None, jobs=None, undone=8, processes=1, launcher="pytorch"):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.delenv(VISIBLE, raising=False)
        if visible is not None:
            monkeypatch.setenv(VISIBLE, visible)
        plan = runs(tmp_path / "w", tmp_path, launcher=launcher, processes=processes)
        lines = []
        found = worker_gpus(plan, jobs, undone, lines.append)
        return [",".join(names) for names in found], lines

    return of


@pytest.mark.parametrize(
    "visible,gpus,processes,expected",
    [
        (None, 4, 1, ["0", "1", "2", "3"]),
        (None, 5, 2, ["0,1", "2,3"]),  # The fifth GPU has no partner.
        ("6, 2,5,7", 4, 2, ["6,2", "5,7"]),
        ("1,3,9,2", 2, 1, ["1", "3"]),  # CUDA ignores GPU 9, which does not exist, and the rest.
        ("GPU-4e5f,GPU-0a1b", 2, 1, ["GPU-4e5f", "GPU-0a1b"]),
        # torch counts one MIG instance, because a process can use only one.
        ("MIG-6a,MIG-7b,MIG-8c", 1, 1, ["MIG-6a", "MIG-7b", "MIG-8c"]),
        (None, 8, 8, ["0,1,2,3,4,5,6,7"]),
    ],
)
def test_there_is_a_worker_for_each_gpu(shares, visible, gpus, processes, expected):
    found = shares(gpus=gpus, visible=visible, processes=processes)
    assert found == (expected, [])


@pytest.mark.parametrize("visible", [None, "", "-1"])
def test_without_a_gpu_there_is_one_worker_or_as_many_as_asked_for(shares, visible):
    assert shares(gpus=0, visible=visible) == ([""], [])
    assert shares(gpus=0, visible=visible, jobs=3) == (["", "", ""], [])


def test_no_more_workers_than_gpus_and_than_undone_runs(shares):
    assert shares(gpus=2, jobs=4, undone=6) == (
        ["0", "1"],
        [
            "--jobs 4: at most 2 in parallel, because a run has 1 of the 2 GPUs "
            "(CUDA_VISIBLE_DEVICES=0,1) for itself"
        ],
    )
    assert shares(gpus=3, jobs=1) == (["0"], [])
    assert shares(gpus=4, jobs=4, undone=2) == (["0", "1"], [])
    assert shares(gpus=0, jobs=4, undone=2) == (["", ""], [])
    assert shares(gpus=4, undone=0) == ([], [])


def test_slurm_assigns_the_gpus_itself(shares):
    # srun may start the processes on other machines than this one.
    assert shares(gpus=2, launcher="slurm", processes=16) == ([""], [])


def test_more_processes_than_gpus(shares):
    message = r"--gpus-per-run 4.*only 3 can be used \(0, 1, 2\); use --gpus-per-run 3"
    with pytest.raises(InputError, match=message):
        shares(gpus=3, processes=4)


def test_the_gpus_are_counted_without_initialising_cuda(monkeypatch):
    from bam_mm.suite.devices import visible_gpus

    def refuse(*args):
        raise AssertionError("CUDA is initialised")

    for name in ("_lazy_init", "init", "is_available", "get_device_properties"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv(VISIBLE, raising=False)
    assert visible_gpus() == ["0", "1"]


def test_the_child_gets_what_the_log_says(tmp_path):
    from bam_mm.suite.child_process import run_child

    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    outcome = run_child([sys.executable, "-c", code], tmp_path / "log", gpus=("5", "3"))
    assert outcome.code == 0
    assert Path(tmp_path / "log").read_text() == "CUDA_VISIBLE_DEVICES=5,3\n5,3\n"
