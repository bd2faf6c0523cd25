"""The files for schedulers: their options, the command in them, and what the script does."""

import shlex
import signal
import subprocess
import sys

import pytest
import yaml
from mmengine.logging import MMLogger

from bam_mm.cli.benchmark import parse_args
from bam_mm.cli.benchmark_commands import worker_arguments
from bam_mm.suite.cluster import WorkerJobs, slurm_script
from bam_mm.suite.definitions import load_suite
from tests.end_to_end.running import exit_code, one_message, printed

OPTIONS = [
    "toy", "--model", "an odd 'name'; $(touch x)=random:vit-toy-p8",
    "--model", "random:resnet18-w16", "--tasks", "knn", "linear", "--seeds", "0", "1",
    "--limit", "20",
    "--cfg-options", "knn:test_cfg.k=[10,20]", "lr=0.1", "--tries", "2", "--size", "32",
]  # fmt: skip


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    """A function that runs `bam-mm benchmark slurm` and returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    MMLogger.get_instance("benchmark", log_level="WARNING")

    def run(*arguments, command="slurm"):
        code = exit_code("benchmark", command, *OPTIONS, *arguments)
        return code, *printed(capfd)

    return run


def same_options(words, tmp_path):
    """Check that a command line starts a worker with the options of the call."""
    program = [sys.executable, "-u", "-m", "bam_mm", "benchmark"]
    assert words[:5] == program and words[5] == "worker"
    found, wanted = vars(parse_args(words[5:])), vars(parse_args(["worker", *OPTIONS]))
    folder = tmp_path / "work dir %j"
    places = {"work_dir": folder, "data": tmp_path / "data", "gpus": found["gpus"]}
    assert found == {**wanted, **places}


def test_a_script_for_slurm(call, tmp_path):
    folder = tmp_path / "work dir %j"
    code, text, errors = call("--work-dir", "work dir %j", "--workers", "3", "--time", "4:30:00")
    assert (code, errors) == (0, [])
    path = folder / "workers.sh"
    assert text.splitlines()[-2:] == [
        str(path), f"start the workers with: sbatch '{path}'"
    ]  # fmt: skip
    script = path.read_text()
    subprocess.run(["bash", "-n", str(path)], check=True)
    lines = [line.split(maxsplit=1)[1] for line in script.splitlines() if line[:7] == "#SBATCH"]
    options = dict(shlex.split(line)[0].removeprefix("--").partition("=")[::2] for line in lines)
    assert options == {
        "job-name": "bam-mm-toy", "array": "0-2", "nodes": "1", "ntasks": "1",
        "cpus-per-task": "12", "gres": "gpu:1", "time": "4:30:00", "requeue": "",
        "open-mode": "append", "signal": "B:USR1@120",
        "output": f"{tmp_path}/work dir %%j/workers/%A_%a.log",
    }  # fmt: skip
    assert (folder / "workers").is_dir() and script.startswith("#!/bin/bash\n#SBATCH")
    command = script[script.index(sys.executable) : script.index(" &\n")]
    same_options(shlex.split(command.replace("\\\n", "")), tmp_path)
    assert not (tmp_path / "x").exists()


def test_a_file_for_skypilot(call, tmp_path):
    code, text, errors = call(
        "--work-dir", "work dir %j", "--format", "skypilot", "--accelerator", "A100",
        "--gpus-per-run", "2", "--out", "sky.yaml",
    )  # fmt: skip
    assert (code, errors) == (0, []) and text.endswith("sky jobs launch sky.yaml\n")
    task = yaml.safe_load((tmp_path / "sky.yaml").read_text())
    run = task.pop("run")
    assert task == {
        "name": "bam-mm-toy",
        "num_nodes": 4,
        "resources": {"accelerators": "A100:2", "cpus": "24+"},
    }
    subprocess.run(["bash", "-n", "-c", run], check=True)
    # A failed run is no reason for SkyPilot to end the other nodes.
    command, _, end = run[run.index(sys.executable) :].partition(" || ")
    assert end == "[ $? -eq 2 ]\n"
    same_options(shlex.split(command.replace("\\\n", "")), tmp_path)
    assert run.startswith(f"cd {tmp_path} || exit 1\n")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--time", "1h"], ["--time 1h: write hours, minutes and seconds, as in 24:00:00"]),
        (["--time", "1:60:00"], ["--time 1:60:00: write hours, minutes and seconds"]),
        (["--time", "00:09:59"], ["--time 00:09:59: must be at least 10 minutes"]),
        (["--format", "skypilot"], ["add --accelerator NAME", "sky show-gpus"]),
        (["--format", "skypilot", "--accelerator", "L4", "--time", "1:00:00"], ["no time limit"]),
        (
            ["--accelerator", "L4"],
            ["--accelerator L4: only --format skypilot", "--gres=gpu:NAME:1"],
        ),
        (["--launcher", "slurm"], ["--launcher slurm: each job of the script is one worker"]),
        (["--workers", "0"], ["--workers 0: must be at least 1"]),
        (["--cpus", "0"], ["--cpus 0: must be at least 1"]),
        (["--dead-after", "5"], ["--dead-after 5: must be at least 60 seconds"]),
        (["--dead-after", "nan"], ["--dead-after nan: must be at least 60 seconds"]),
        (["--tries", "0"], ["--tries 0: must be at least 1"]),
        (["--gpus-per-run", "0"], ["--gpus-per-run 0: must be at least 1"]),
        (["--out", "."], ["--out . is a folder: add the name of a file"]),
    ],
)
def test_wrong_options(call, arguments, words):
    one_message(call(*arguments), *words)


def test_several_gpus_for_a_run_start_torchrun():
    args = parse_args(["run", "toy", "--model", "m=random:vit-toy-p8", "--gpus-per-run", "8"])
    assert args.jobs is None and args.gpus == 8 and args.launcher is None
    words = worker_arguments(parse_args(["slurm", *OPTIONS, "--gpus", "8"]), load_suite("toy"))
    assert "--gpus-per-run=8" in words and parse_args(words[1:]).command == "worker"


@pytest.mark.parametrize("name, code, requeued", [("USR1", 0, True), ("TERM", 143, False)])
def test_the_script_ends_its_worker_and_is_requeued_before_the_limit(
    tmp_path, name, code, requeued
):
    for program, text in (("scontrol", 'echo "$@"'), ("python", "echo started; exec sleep 60")):
        (tmp_path / program).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / program).chmod(0o755)
    script = slurm_script(WorkerJobs("toy", ["benchmark", "worker", "toy"], tmp_path))
    script = script.replace(sys.executable, str(tmp_path / "python"))
    process = subprocess.Popen(
        ["bash", "-c", script], stdout=subprocess.PIPE, text=True,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "77"},
    )  # fmt: skip
    assert process.stdout.readline() == "started\n"
    process.send_signal(getattr(signal, f"SIG{name}"))
    # The pipe is closed once the worker has ended, too.
    assert process.communicate(timeout=50)[0] == ("requeue 77\n" if requeued else "")
    assert process.returncode == code
