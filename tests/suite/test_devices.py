"""Which GPUs the runs of a benchmark see. Children are real processes, the number of GPUs is not.

Each child takes a file for every GPU that it sees, which fails if another run holds it, and waits
for the others, so that a run on a GPU in use, or too few runs in parallel, fail the test.
"""

import json
import sys
from pathlib import Path

import pytest
import torch

from bam_mm import InputError
from bam_mm.suite import running
from tests.suite.test_running import runs

VISIBLE = "CUDA_VISIBLE_DEVICES"
CHILD = """
import json, os, pathlib, sys, time
folder, expected, failing, *arguments = sys.argv[1:]
folder, work = pathlib.Path(folder), pathlib.Path(arguments[arguments.index("--work-dir") + 1])
visible = os.environ.get("CUDA_VISIBLE_DEVICES")
held = [folder / f"held-{name}" for name in (visible or "").split(",") if name not in ("", "-1")]
for path in held:
    path.touch(exist_ok=False)
(folder / f"seen-{os.getpid()}").write_text(json.dumps([work.name, visible]))
for _ in range(1500):
    if len(list(folder.glob("seen-*"))) >= int(expected):
        break
    time.sleep(0.01)
else:
    sys.exit("error: the other runs have not started")
for path in held:
    path.unlink()
if work.name in failing.split(","):
    sys.exit("error: out of memory")
(work / "test_facts.json").write_text('{"processes": 1, "devices": ["cpu"]}')
keys = {f"knn_k{k}/top1": 50.0 for k in (10, 20, 100, 200)}
pathlib.Path(arguments[arguments.index("--out") + 1]).write_text(json.dumps(keys))
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A function that runs kNN with several seeds and returns what each child saw, by seed."""

    def start(*, gpus, visible=None, jobs, seeds, expected, processes=1, launcher=None, failing=()):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.delenv(VISIBLE, raising=False)
        if visible is not None:
            monkeypatch.setenv(VISIBLE, visible)

        def command(tool, arguments, **settings):
            assert settings == {"launcher": launcher, "processes": processes}
            names = ",".join(f"seed{seed}" for seed in failing)
            return [sys.executable, "-c", CHILD, str(seen), str(expected), names, *arguments]

        seen = tmp_path / "seen"
        seen.mkdir()
        monkeypatch.setattr(running, "command", command)
        launcher = launcher or ("none" if processes == 1 else "pytorch")
        work = runs(
            tmp_path / "w", tmp_path, seeds=range(seeds), launcher=launcher, processes=processes
        )
        start.messages = []
        missing = running.run_all(work, start.messages.append, jobs=jobs)
        assert missing == len(failing), start.messages
        start.records = [json.loads(run.record.read_text()) for run in work]
        start.logs = [(run.folder / "run.log").read_text() for run in work]
        pairs = dict(json.loads(path.read_text()) for path in seen.glob("seen-*"))
        return [pairs[f"seed{seed}"] for seed in range(seeds)]

    return start


@pytest.mark.parametrize(
    "visible,gpus,processes,expected",
    [
        (None, 4, 1, ["0", "1", "2", "3"]),
        (None, 5, 2, ["0,1", "2,3"]),  # The fifth GPU has no partner.
        ("6, 2,5,7", 4, 2, ["5,7", "6,2"]),
        ("1,3,9,2", 2, 1, ["1", "3"]),  # CUDA ignores GPU 9, which does not exist, and the rest.
        ("GPU-4e5f,GPU-0a1b", 2, 1, ["GPU-0a1b", "GPU-4e5f"]),
        # torch counts one MIG instance, because a process can use only one.
        ("MIG-6a,MIG-7b,MIG-8c", 1, 1, ["MIG-6a", "MIG-7b", "MIG-8c"]),
    ],
)
def test_runs_in_parallel_have_their_own_gpus(suite, visible, gpus, processes, expected):
    count = len(expected)
    seen = suite(
        gpus=gpus, visible=visible, processes=processes, jobs=count, seeds=count, expected=count
    )
    assert set(seen) == {*expected}
    for name, record, log in zip(seen, suite.records, suite.logs, strict=True):
        assert ",".join(record["gpus"]) == name
        assert log.splitlines()[0] == f"{VISIBLE}={name}"
        shown = name.replace(",", ", ") if name[0] in "GM" else "GPU " + name.replace(",", ", ")
        assert any(f"running on {shown} (" in line for line in suite.messages)
    assert not any("in parallel" in line for line in suite.messages)


@pytest.mark.parametrize("visible", [None, "", "-1"])
def test_without_a_gpu_nothing_changes(suite, visible):
    seen = suite(gpus=0, visible=visible, jobs=2, seeds=2, expected=2)
    assert seen == [visible] * 2
    assert [record["gpus"] for record in suite.records] == [[], []]
    assert not any("GPU" in line or VISIBLE in line for line in (*suite.messages, *suite.logs))


def test_more_jobs_than_gpus_and_failed_runs(suite):
    # A child that finds its GPU in use fails: two runs at a time, although --jobs allows four.
    seen = suite(gpus=2, jobs=4, seeds=6, expected=2, failing=(0, 3))
    assert set(seen) == {"0", "1"}
    assert [line for line in suite.messages if "--jobs" in line] == [
        "--jobs 4: at most 2 in parallel, because a run has 1 of the 2 GPUs "
        "(CUDA_VISIBLE_DEVICES=0,1) for itself"
    ]
    failed = [record for record in suite.records if record["status"] == "failed"]
    assert [record["message"] for record in failed] == ["out of memory"] * 2
    assert [record["gpus"] for record in suite.records] == [[name] for name in seen]


def test_one_job_uses_the_first_gpu_again_and_again(suite):
    assert suite(gpus=3, jobs=1, seeds=3, expected=1) == ["0"] * 3


def test_slurm_assigns_the_gpus_itself(suite):
    # srun may start the processes on other machines than this one.
    seen = suite(gpus=2, launcher="slurm", processes=16, jobs=1, seeds=1, expected=1)
    assert seen == [None]


def test_more_processes_than_gpus(suite, tmp_path):
    with pytest.raises(InputError, match=r"--gpus 4.*only 3 can be used \(0, 1, 2\); use --gpus 3"):
        suite(gpus=3, processes=4, jobs=1, seeds=1, expected=1)
    assert not list((tmp_path / "w").rglob("*.log"))


def test_a_stopped_run_returns_its_gpus():
    from bam_mm.suite.devices import DevicePool

    pool = DevicePool(["0", "1", "2", "3"], per_run=2)
    with pool.take() as first:
        for error in (KeyboardInterrupt, RuntimeError):
            with pytest.raises(error), pool.take() as second:
                assert (first, second) == (("0", "1"), ("2", "3"))
                raise error
        with pool.take(), pytest.raises(RuntimeError, match="2 GPUs requested, 0 of"):
            pool.take().__enter__()
    with pool.take() as again:
        assert again == first


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
