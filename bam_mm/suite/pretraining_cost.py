"""Measure the time and memory of a pretraining step for several methods."""

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
from bam_mm.launch.paths import child_environment
from bam_mm.models.cost import peak_mb
from bam_mm.suite.pretraining_methods import Views, build_method, make_views, step

IMAGENET = 1_281_167
"""Number of training images, for the hours of an epoch."""


@dataclass(frozen=True)
class CostSettings:
    """Settings of a measurement.

    Attributes:
        method: Key of :data:`~bam_mm.suite.pretraining_methods.METHODS`.
        backbone: Key of :data:`~bam_mm.checkpoint.sources.ARCHITECTURES`.
        crops: Views in the form that :meth:`~bam_mm.suite.pretraining_methods.Views.of` reads.
        batch: Number of images per step.
        steps: Number of timed steps; one untimed step runs before them.
        bfloat16: Whether the forward pass uses autocast to bfloat16.
        threads: Number of CPU threads; 0 keeps the default.
    """

    method: str
    backbone: str
    crops: tuple[str, ...]
    batch: int
    steps: int
    bfloat16: bool = False
    threads: int = 0


def clock(device: str) -> Callable[[], float]:
    """Choose the clock that times a step on a device.

    On a single CPU thread this is the process time, which excludes other work on the machine. With
    several threads or a GPU it is the elapsed time, which includes waiting for them.

    Args:
        device: Device type, ``cpu`` or ``cuda``.

    Returns:
        A function that returns seconds.
    """
    single_thread = device == "cpu" and torch.get_num_threads() == 1
    return time.process_time if single_thread else time.perf_counter


def measure(settings: CostSettings) -> dict[str, Any]:
    """Measure one method in this process.

    Args:
        settings: Settings of the measurement.

    Returns:
        ``seconds`` of each step, ``peak_mb``, ``device`` and the number of trained ``parameters``.
        ``peak_mb`` is the peak of the GPU memory, or on a CPU the growth of the process's peak
        memory since before the model was built, in MiB.

    Raises:
        InputError: If the method cannot be built.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    torch.manual_seed(0)
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    views = Views.of(settings.crops)
    before = peak_mb() or 0.0
    model = build_method(settings.method, settings.backbone, views).to(device).train()
    inputs = make_views(settings.method, views, settings.batch, device)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=gpu or None)
    seconds, now = [], clock(device)
    for _ in range(settings.steps + 1):
        start = now()
        with torch.autocast(device, torch.bfloat16, enabled=settings.bfloat16):
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
    methods: Sequence[CostSettings], *, rounds: int = 1, log: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Measure several methods in turn, each in its own process.

    Args:
        methods: Settings of each method.
        rounds: Number of rounds. Each round measures all methods, so that a temporary slowdown of
            the machine affects all of them.
        log: Function that receives progress messages.

    Returns:
        A row for each method: its settings, ``ms`` per step (median over all steps),
        ``images_per_s``, ``peak_mb`` (maximum), ``imagenet_hours`` per epoch and ``times``, the
        ratio of ``ms`` to that of the first measured method. If a method could not be measured, its
        row has the reason in ``message`` instead.
    """
    results: dict[str, list[dict[str, Any]]] = {each.method: [] for each in methods}
    errors: dict[str, str] = {}
    for number in range(rounds):
        for settings in methods:
            if settings.method in errors:
                continue
            try:
                results[settings.method].append(_measure_in_child(settings))
            except InputError as error:
                errors[settings.method] = str(error)
                log(f"{settings.method}: {error}")
                continue
            median = statistics.median(results[settings.method][-1]["seconds"])
            log(f"{settings.method}, round {number + 1} of {rounds}: {1000 * median:.0f} ms a step")
    rows, first = [], None
    for settings in methods:
        row: dict[str, Any] = {**asdict(settings), "crops": list(settings.crops)}
        found = results[settings.method]
        if settings.method in errors or not found:
            rows.append({**row, "message": errors.get(settings.method, "not measured")})
            continue
        seconds = statistics.median(s for result in found for s in result["seconds"])
        first = first or seconds
        speed = settings.batch / seconds
        rows.append(
            {
                **row,
                "ms": 1000 * seconds,
                "images_per_s": speed,
                "peak_mb": max(result["peak_mb"] for result in found),
                "imagenet_hours": IMAGENET / speed / 3600,
                "times": seconds / first,
                "device": found[0]["device"],
                "parameters": found[0]["parameters"],
                "message": "",
            }
        )
    return rows


def _measure_in_child(settings: CostSettings) -> dict[str, Any]:
    command = [sys.executable, "-m", "bam_mm.suite.pretraining_cost"]
    done = subprocess.run(
        command,
        input=json.dumps(asdict(settings)),
        capture_output=True,
        text=True,
        env=child_environment(),
    )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise InputError(lines[-1] if lines else f"failed with exit code {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def _main() -> None:
    fields = json.load(sys.stdin)
    try:
        print(json.dumps(measure(CostSettings(**{**fields, "crops": tuple(fields["crops"])}))))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    _main()
