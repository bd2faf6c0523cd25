"""Several workers of one plan: each run is done once, whatever becomes of the workers.

The workers are real processes, forked from the test; the runs are short commands.
"""

import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from bam_mm.checkpoint import write_whole
from bam_mm.launch import watching
from bam_mm.report import write_report
from bam_mm.suite import workers
from bam_mm.suite.claims import Claims, Worker
from bam_mm.suite.worker import work
from tests.suite.test_running import record_of, runs

pytestmark = pytest.mark.slow

MODELS = ("a=random:vit-toy-p8", "b=random:resnet18-w16")
TASKS = ("knn", "cluster")
LONG = 120  # Seconds after which something counts as hanging.
LAUNCH = Path(watching.__file__).parent
STUB = """
import json, os, pathlib, sys, time, zlib
launch, folder, delay, failing, *arguments = sys.argv[1:]
sys.path.append(launch)
from watching import start_of
folder = pathlib.Path(folder)
work = pathlib.Path(arguments[arguments.index("--work-dir") + 1])
name = "/".join(work.parts[-3:])
model, _, seed = work.parts[-3:]
claim = work.parents[3] / "records" / (name + ".claim")
worker = int(os.environ["BAM_MM_ENDS_WITH"].partition("@")[0])

def wait_for(what):
    '''Return False if the worker has ended before.'''
    while not what():
        if start_of(worker) is None:
            return False
        time.sleep(0.01)
    return True

def claimed():
    try:
        return f'"pid": {os.getpid()},' in claim.read_text()
    except FileNotFoundError:
        return False

def note(what):
    line = f"{what} {name} {os.environ['BAM_MM_ENDS_WITH']} {os.environ.get('OMP_NUM_THREADS')}\\n"
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, line.encode())

# Until others can see this process, they may take the place of a worker that is killed.
if not wait_for(claimed):
    sys.exit(143)
note("start")
holds = [folder / "hold", folder / f"hold-{model}-{seed}"]
alive = wait_for(lambda: not any(map(pathlib.Path.exists, holds)))
end = time.monotonic() + float(delay)
if not alive or not wait_for(lambda: time.monotonic() > end):
    note("end")
    sys.exit(143)
if name in failing.split(","):
    note("end")
    sys.exit("error: out of memory")
(work / "test_facts.json").write_text('{"processes": 1, "devices": ["cpu"]}')
value = zlib.crc32(name.encode()) % 10000 / 100
keys = [f"knn_k{k}/top1" for k in (10, 20, 100, 200)]
keys += [f"clustering_k{k}/{m}" for k in (5, 9) for m in ("nmi", "ari")]
metrics = json.dumps(dict.fromkeys(keys, value))
pathlib.Path(arguments[arguments.index("--out") + 1]).write_text(metrics)
note("end")
"""


def stub(tool, arguments, *, launcher, processes, folder, delay=0.0, failing=()):
    """Return a command that stands in for `bam-mm test`, notes when it ran, and may fail.

    It does not end while there is a file ``hold`` or ``hold-MODEL-SEED`` in the folder, unless its
    worker ends.
    """
    assert (tool, launcher, processes) == ("test", "none", 1)
    names = ",".join(failing)
    line = [sys.executable, "-S", "-c", STUB, str(LAUNCH), str(folder), str(delay), names]
    return [*line, *arguments]


def start(plan, *, tool, limit=1, claims=None, pause=0.2):
    """Start a worker in a process of its own."""
    process = multiprocessing.get_context("fork").Process(
        target=work, args=(plan, lambda line: None),
        kwargs=dict(limits=[limit] * len(plan), tool=tool, longest_pause=pause, claims=claims),
    )  # fmt: skip
    process.start()
    return process


def ends(*processes):
    for process in processes:
        process.join(LONG)
    return [process.exitcode for process in processes]


def wait_until(what):
    """Wait for something that other processes do; how long they take does not matter."""
    deadline = time.monotonic() + LONG
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def log_of(folder):
    """Return what the commands noted: ``start`` or ``end``, run, and the worker's process."""
    path = folder / "log"
    return [line.split()[:3] for line in path.read_text().splitlines()] if path.exists() else []


def starts(folder):
    return [name for what, name, _ in log_of(folder) if what == "start"]


def check_bundles(folder):
    """Check that no two runs that share features ran at the same time."""
    active = set()
    for what, name, _ in log_of(folder):
        model, _, seed = name.split("/")
        if what == "start":
            assert (model, seed) not in active, name
            active.add((model, seed))
        else:
            active.remove((model, seed))


def without_times(plan):
    """Return the records as text, without times and what depends on the path of the folder."""
    records = [record_of(run) for run in plan]
    for record in records:
        assert record.pop("time")["seconds"] > 0
        del record["data_root"], record["config_digest"]
    return json.dumps(records)


@pytest.fixture(scope="module")
def sequential(tmp_path_factory):
    """The plan of 24 runs, done by one worker, and its leaderboard."""
    out = tmp_path_factory.mktemp("one")
    plan = runs(out / "w", out, models=MODELS, tasks=TASKS, seeds=range(6))
    assert len(plan) == 24
    tool = partial(stub, folder=out)
    assert workers.run_all(plan, lambda line: None, jobs=1, longest_pause=0.2, tool=tool) == 0
    write_report(plan[0].suite, out / "w")
    # What reads the features of a model runs right after their extraction.
    bundles = [(name.split("/")[0], name.split("/")[2]) for name in starts(out)]
    assert all(one == two for one, two in zip(bundles[::2], bundles[1::2], strict=True))
    return plan, (out / "w/report/leaderboard.csv").read_bytes()


def test_four_workers_of_which_two_are_killed_make_the_records_of_one(sequential, tmp_path):
    plan = runs(tmp_path / "w", tmp_path, models=MODELS, tasks=TASKS, seeds=range(6))
    tool, moments = partial(stub, folder=tmp_path, delay=0.15), random.Random(0)
    # Four workers have a run each before one ends, and two runs are left until two are killed.
    for name in ("hold", "hold-b-seed5"):
        (tmp_path / name).touch()
    active = [start(plan, tool=tool) for _ in range(4)]
    wait_until(lambda: len(starts(tmp_path)) == 4)
    (tmp_path / "hold").unlink()
    for number in range(2):
        time.sleep(moments.uniform(0, 0.4))
        os.kill(active[number].pid, signal.SIGKILL)
        active[number].join()
        active.append(start(plan, tool=tool))
    (tmp_path / "hold-b-seed5").unlink()
    assert ends(*active) == [-9, -9, 0, 0, 0, 0]

    found, once = starts(tmp_path), {run.folder.relative_to(tmp_path / "w/runs") for run in plan}
    assert {Path(name) for name in found} == once and len(once) == 24
    # A killed worker's run is repeated, all others are done once.
    assert len(found) <= 26 and len({worker for *_, worker in log_of(tmp_path)}) >= 4
    check_bundles(tmp_path)
    assert not list((tmp_path / "w/records").rglob("*.claim"))
    write_report(plan[0].suite, tmp_path / "w")
    one, leaderboard = sequential
    assert (tmp_path / "w/report/leaderboard.csv").read_bytes() == leaderboard
    assert without_times(plan) == without_times(one)


def test_two_nodes_share_a_folder_and_one_of_them_dies(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "mount").symlink_to(tmp_path / "disk")
    here, there = (
        runs(tmp_path / name, tmp_path, tasks=TASKS, seeds=range(3)) for name in ("disk", "mount")
    )
    tool, node = partial(stub, folder=tmp_path), Worker.this()
    nodes = [replace(node, machine=name) for name in ("node1", "node2", "node3")]
    dead, *alive = (
        Claims(plan[0].settings.folder / "records", worker)
        for plan, worker in zip((here, here, there), nodes, strict=True)
    )
    # The first node holds a run, and gives no sign any more.
    process = multiprocessing.get_context("fork").Process(
        target=lambda: (dead.take(here[0].claims), os._exit(9))
    )
    process.start()
    assert ends(process) == [9]
    processes = [
        start(plan, tool=tool, claims=claims)
        for plan, claims in zip((here, there), alive, strict=True)
    ]
    # Others are not kept waiting; what shares its features is, until its claim is old.
    wait_until(lambda: sum(run.record.exists() for run in here) == 4)
    assert not any(run.record.exists() for run in here if run.seed == 0)
    for path in here[0].claims:
        os.utime(path, (0, 0))
    assert ends(*processes) == [0, 0]
    assert sorted(starts(tmp_path)) == sorted({*starts(tmp_path)}) and len(starts(tmp_path)) == 6
    assert {record_of(run)["seed"] for run in here} == {0, 1, 2}


def test_a_failed_run_is_tried_again_by_another_worker(tmp_path):
    bad = "random/knn/seed1"
    plan = runs(tmp_path / "w", tmp_path, seeds=range(4))
    tool = partial(stub, folder=tmp_path, delay=0.05, failing=(bad,))
    (tmp_path / "hold").touch()
    two = [start(plan, tool=tool, limit=3, pause=1.0) for _ in range(2)]
    wait_until(lambda: len(starts(tmp_path)) == 2)
    (tmp_path / "hold").unlink()
    assert ends(*two) == [0, 0]
    tries = [worker for what, name, worker in log_of(tmp_path) if (what, name) == ("start", bad)]
    assert len(tries) == 3 and tries[0] != tries[1] and len(starts(tmp_path)) == 6
    record = record_of(plan[1])
    assert (record["status"], record["tries"], record_of(plan[0])["tries"]) == ("failed", 3, 1)

    # The count survives: it is over all workers, but a new call of `run` begins anew.
    alone = partial(work, plan, lambda line: None, tool=tool, longest_pause=0.01)
    alone(limits=[3] * 4)
    assert len(starts(tmp_path)) == 6
    alone(limits=[4] * 4)
    assert len(starts(tmp_path)) == 7 and record_of(plan[1])["tries"] == 4
    good = partial(stub, folder=tmp_path)
    lines = []
    assert workers.run_all(plan, lines.append, jobs=1, tool=good) == 0
    assert len(starts(tmp_path)) == 8 and record_of(plan[1])["tries"] == 5
    assert "failed before, retrying" in lines[3]


def test_failures_with_other_settings_do_not_count(tmp_path):
    plan = runs(tmp_path / "w", tmp_path)
    failing = partial(stub, folder=tmp_path, failing=("random/knn/seed0",))
    lines = []
    work(plan, lines.append, limits=[1], tool=failing)
    work(plan, lines.append, limits=[1], tool=failing)
    assert len(starts(tmp_path)) == 1
    assert workers.work_alone(plan, lines.append) == 1
    assert lines[-1] == (
        "[1/1] knn, random, seed 0: FAILED before, not tried again (--tries 2 tries it once more)"
    )
    # A smaller batch, the remedy for want of memory, leaves the protocol as it is.
    smaller = runs(tmp_path / "w", tmp_path, options={"": {"test_dataloader.batch_size": 2}})
    for _ in range(2):
        work(smaller, lines.append, limits=[1], tool=failing)
    assert len(starts(tmp_path)) == 2 and record_of(smaller[0])["tries"] == 1
    other = runs(tmp_path / "w", tmp_path, options={"knn": {"test_cfg.k": [20]}})
    work(other, lines.append, limits=[1], tool=partial(stub, folder=tmp_path))
    assert len(starts(tmp_path)) == 3 and record_of(other[0])["status"] == "done"


def test_an_error_of_the_system_is_the_failure_of_a_run(tmp_path):
    plan, lines = runs(tmp_path / "w", tmp_path, seeds=(0, 1)), []
    missing = str(tmp_path / "missing")
    tools = iter([lambda *_, **__: [missing], partial(stub, folder=tmp_path)])
    tool = lambda *args, **kwargs: next(tools)(*args, **kwargs)  # noqa: E731
    work(plan, lines.append, limits=[1, 1], tool=tool, longest_pause=0.1)
    assert record_of(plan[0])["message"] == f"{missing}: No such file or directory"
    assert record_of(plan[1])["status"] == "done"


def test_a_run_of_another_worker_is_waited_for(tmp_path):
    plan, lines = runs(tmp_path / "w", tmp_path, seeds=(0, 1)), []
    held = Claims(tmp_path / "w/records").take(plan[0].claims)

    def log(line):
        lines.append(line)
        if "left to" in line:  # The other worker finishes its run.
            record = {**record_of(plan[1]), "seed": 0}
            write_whole(plan[0].record, json.dumps(record).encode())
            held.release()

    tool = partial(stub, folder=tmp_path)
    assert workers.run_all(plan, log, jobs=1, tool=tool, longest_pause=0.1) == 0
    assert starts(tmp_path) == ["random/knn/seed1"]
    this = Worker.this()
    assert lines[-1] == (
        f"[1/2] knn, random, seed 0: left to process {this.pid} on {this.host}; waiting, in case "
        "it does not end"
    )


def test_a_run_that_was_taken_over_ends(tmp_path):
    plan, lines = runs(tmp_path / "w", tmp_path), []
    claims = Claims(tmp_path / "w/records", dead_after=0.5)

    def take_over():
        wait_until(lambda: starts(tmp_path))
        for path in plan[0].claims:
            path.write_text(json.dumps({"machine": "other", "host": "other", "token": "t"}))

    def log(line):
        lines.append(line)
        if len(lines) == 1:
            threading.Thread(target=take_over).start()
        if "stopped" in line:
            for path in plan[0].claims:
                path.unlink()

    # The command would take a minute, but its worker looks at its claim every two seconds.
    tools = iter([partial(stub, delay=60), stub])
    tool = lambda *args, **kwargs: next(tools)(*args, **kwargs, folder=tmp_path)  # noqa: E731
    work(plan, log, limits=[1], claims=claims, tool=tool, longest_pause=0.1)
    assert lines[1].endswith(
        "stopped, because another worker has taken it over: this one was not seen for 0 s"
    )
    assert record_of(plan[0])["status"] == "done" and "running" in lines[2]


def test_workers_of_a_call_have_their_own_gpus_and_an_interrupt_ends_them(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    plan, lines = runs(tmp_path / "w", tmp_path, seeds=range(5)), []

    def log(line):
        lines.append(line)
        if "running" in line and len([x for x in lines if "running" in x]) == 2:
            wait_until(lambda: len(starts(tmp_path)) == 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workers.run_all(plan, log, tool=partial(stub, folder=tmp_path, delay=60))
    assert {line.split(" running on ")[1][:5] for line in lines} == {"GPU 0", "GPU 1"}
    assert len({worker for *_, worker in log_of(tmp_path)}) == 2 == len(starts(tmp_path))
    visible = {(run.folder / "run.log").read_text().strip() for run in plan[:2]}
    assert visible == {"CUDA_VISIBLE_DEVICES=0", "CUDA_VISIBLE_DEVICES=1"}
    # The next start goes on at once.
    assert not list((tmp_path / "w/records").rglob("*.claim"))
    assert not list((tmp_path / "w/records").rglob("*.json"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert workers.run_all(plan, log, jobs=1, tool=partial(stub, folder=tmp_path)) == 0
    assert record_of(plan[0])["time"]["starts"] == 2
