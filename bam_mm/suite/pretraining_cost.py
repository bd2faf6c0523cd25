"""What a step of pretraining costs, by method: each in a process of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from bam_mm.errors import InputError
from bam_mm.launch.paths import ROOT
from bam_mm.launch.run_facts import peak_mb
from bam_mm.suite.pretraining_methods import Views, build_method, make_views, step

IMAGENET = 1_281_167
"""Training images, for the hours of an epoch."""


@dataclass(frozen=True)
class Question:
    """What is measured.

    Attributes:
        method: See :data:`~bam_mm.suite.pretraining_methods.METHODS`.
        backbone: See :data:`~bam_mm.checkpoint.sources.ARCHITECTURES`.
        crops: As of :meth:`~bam_mm.suite.pretraining_methods.Views.of`.
        batch: Images a step.
        steps: How many are timed, after one that is not.
        bfloat16: Whether the forward pass is under autocast.
        threads: Of the CPU; 0 leaves them.
    """

    method: str
    backbone: str
    crops: tuple[str, ...]
    batch: int
    steps: int
    bfloat16: bool = False
    threads: int = 0


def clock(device: str) -> Callable[[], float]:
    """What tells the seconds of a step on a device.

    On one thread of a CPU the time that this process was at work, so that other work on the machine
    does not count; else the time that passed (threads wait for each other, a GPU is waited for).
    """
    alone = device == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def measure(question: Question) -> dict[str, Any]:
    """Measure one method in this process.

    Returns:
        ``seconds`` of each step, ``peak_mb`` of the process beyond what it held before the model
        was built (CPU) or of the GPU, ``device``, ``parameters``.

    Raises:
        InputError: If the method cannot be built.
    """
    if question.threads:
        torch.set_num_threads(question.threads)
    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    views = Views.of(question.crops)
    before = peak_mb() or 0.0
    model = build_method(question.method, question.backbone, views).to(device).train()
    inputs = make_views(question.method, views, question.batch, device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=gpu or None)
    seconds, now = [], clock(device)
    for _ in range(question.steps + 1):
        start = now()
        with torch.autocast(device, torch.bfloat16, enabled=question.bfloat16):
            step(model, inputs, optimizer)
        if gpu:
            torch.cuda.synchronize()
        seconds.append(now() - start)
    peak = torch.cuda.max_memory_allocated() / 2**20 if gpu else (peak_mb() or 0.0) - before
    return {
        "seconds": seconds[1:],
        "peak_mb": peak,
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "parameters": sum(p.numel() for p in trained),
    }


def compare(
    questions: Sequence[Question], *, rounds: int = 1, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Measure several methods in turn, each in a process of its own.

    Args:
        questions: One a method.
        rounds: How often all are gone through, so that a slower minute meets them all.
        say: Is told the progress.

    Returns:
        A row each: the question, ``ms`` (median over all steps), ``images_per_s``, ``peak_mb``
        (the largest), ``imagenet_hours`` an epoch, ``times`` the step of the first row; or
        ``message`` where it could not be measured.
    """
    answers: dict[str, list[dict[str, Any]]] = {q.method: [] for q in questions}
    faults: dict[str, str] = {}
    for turn in range(rounds):
        for question in questions:
            if question.method in faults:
                continue
            try:
                answers[question.method].append(_ask(question))
            except InputError as error:
                faults[question.method] = str(error)
                say(f"{question.method}: {error}")
                continue
            took = statistics.median(answers[question.method][-1]["seconds"])
            say(f"{question.method}, round {turn + 1} of {rounds}: {1000 * took:.0f} ms a step")
    rows, first = [], None
    for question in questions:
        row: dict[str, Any] = {**asdict(question), "crops": list(question.crops)}
        found = answers[question.method]
        if question.method in faults or not found:
            rows.append({**row, "message": faults.get(question.method, "not measured")})
            continue
        seconds = statistics.median(s for answer in found for s in answer["seconds"])
        first = first or seconds
        speed = question.batch / seconds
        rows.append(
            {
                **row,
                "ms": 1000 * seconds,
                "images_per_s": speed,
                "peak_mb": max(answer["peak_mb"] for answer in found),
                "imagenet_hours": IMAGENET / speed / 3600,
                "times": seconds / first,
                "device": found[0]["device"],
                "parameters": found[0]["parameters"],
                "message": "",
            }
        )
    return rows


def _ask(question: Question) -> dict[str, Any]:
    line = [sys.executable, "-m", "bam_mm.suite.pretraining_cost"]
    done = subprocess.run(
        line, input=json.dumps(asdict(question)), capture_output=True, text=True, cwd=ROOT
    )
    if done.returncode:
        words = [text for text in done.stderr.splitlines() if text.strip()]
        raise InputError(words[-1] if words else f"ended with code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def _main() -> None:
    asked = json.load(sys.stdin)
    try:
        print(json.dumps(measure(Question(**{**asked, "crops": tuple(asked["crops"])}))))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
