"""Run every benchmark, and compare its ratios with the recorded ones.

    python benchmarks/run_all.py --record    # writes benchmarks/recorded.json
    python benchmarks/run_all.py --check     # fails where a ratio is below 0.7 of the recorded one
    python benchmarks/run_all.py --check --only knn davis_j_and_f

Where there is a GPU, those on it come last; ``--only`` with their names runs them alone.

Ratios (baseline / ours, both measured in one process) are compared, not seconds: they move less
from machine to machine. They do move with the number of cores and with other work on them, so check
on a quiet machine, and record anew where the machine is another one.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORDED = ROOT / "benchmarks/recorded.json"
STEP = ("training_step.py", "--device", "cpu", "--backbone")
GPU_STEP = ("training_step.py", "--device", "cuda", "--runs", "10", "--compiled", "--backbone")
BENCHMARKS = {
    "loss": ("loss.py",),
    "data": ("data.py",),
    "training_step": (*STEP, "vit-small-p16"),
    "training_step_vit_base": (*STEP, "vit-base-p16", "--batch", "2"),
    "training_step_resnet50": (*STEP, "resnet50"),
    "feature_extraction": ("feature_extraction.py",),
    "knn": ("knn.py",),
    "logistic_regression": ("logistic_regression.py",),
    "label_propagation": ("label_propagation.py",),
    "davis_j_and_f": ("davis_j_and_f.py",),
    "startup": ("startup.py",),
}
"""Name: script and arguments. These run on a CPU, whatever else there is."""
GPU_BENCHMARKS = {
    "gpu_loss": ("loss.py", "--device", "cuda"),
    "gpu_data": ("data.py", "--device", "cuda"),
    "gpu_training_step_vit_base": (*GPU_STEP, "vit-base-p16", "--batch", "128"),
    "gpu_training_step_vit_small": (*GPU_STEP, "vit-small-p16", "--batch", "256"),
    "gpu_training_step_resnet50": (*GPU_STEP, "resnet50", "--batch", "128"),
}
"""Likewise, where there is a GPU."""
ENOUGH = 0.7
"""Of a recorded ratio."""

Ratios = Mapping[str, Mapping[str, float]]
"""By benchmark and name."""


@dataclass(frozen=True)
class Verdict:
    """What became of one ratio.

    Attributes:
        name: ``benchmark: ratio``.
        recorded: None where it was not recorded.
        now: None where it was not measured.
        word: ``ok``, ``SLOWER``, ``MISSING`` or ``new``.
    """

    name: str
    recorded: float | None
    now: float | None
    word: str

    @property
    def fails(self) -> bool:
        """Whether the check does."""
        return self.word in ("SLOWER", "MISSING")

    def __str__(self) -> str:
        recorded, now = (
            "-" if ratio is None else f"{ratio:.2f}" for ratio in (self.recorded, self.now)
        )
        return f"{self.name:<50} {recorded:>9} {now:>9}  {self.word}"


def compare(recorded: Ratios, now: Ratios, enough: float = ENOUGH) -> list[Verdict]:
    """Compare ratios.

    Args:
        recorded: What was.
        now: What is.
        enough: The part of a recorded ratio that must be reached.

    Returns:
        One verdict for each ratio in either: a recorded one that is gone fails as one that fell
        does; a new one never fails.
    """
    verdicts = []
    for benchmark in [*recorded, *(name for name in now if name not in recorded)]:
        before, after = recorded.get(benchmark, {}), now.get(benchmark, {})
        for name in [*before, *(name for name in after if name not in before)]:
            was, value = before.get(name), after.get(name)
            if value is None:
                word = "MISSING"
            elif was is None:
                word = "new"
            else:
                word = "ok" if value >= enough * was else "SLOWER"
            verdicts.append(Verdict(f"{benchmark}: {name}", was, value, word))
    return verdicts


def merge(recorded: Mapping, found: Mapping, here: Mapping) -> dict:
    """The record with some benchmarks measured anew; others, of this machine or not, stay.

    Args:
        recorded: The record so far, {} for none.
        found: By benchmark what its ``--json`` wrote.
        here: The machine.
    """
    entries = {name: {**result, "machine": dict(here)} for name, result in found.items()}
    benchmarks = {**recorded.get("benchmarks", {}), **entries}
    return {"benchmarks": {name: benchmarks[name] for name in sorted(benchmarks)}}


def ratios_of(record: Mapping, only: Sequence[str]) -> dict[str, dict[str, float]]:
    """The ratios of some benchmarks of a record, or of what was found."""
    return {name: dict(record[name]["ratios"]) for name in only if name in record}


def run(name: str, folder: Path) -> dict | None:
    """Run one benchmark; says why and returns None where it cannot be run or fails."""
    file, *options = {**BENCHMARKS, **GPU_BENCHMARKS}[name]
    script, out = ROOT / "benchmarks" / file, folder / f"{name}.json"
    if not script.is_file():
        print(f"== {name}: skipped, there is no {script.relative_to(ROOT)}", flush=True)
        return None
    if "add_json_option" not in script.read_text():
        print(f"== {name}: skipped, it does not take --json", flush=True)
        return None
    print(f"== {name}", flush=True)
    line = [sys.executable, str(script), "--json", str(out), *options]
    code = subprocess.run(line, cwd=ROOT).returncode
    if code or not out.is_file():
        print(f"== {name}: failed with exit code {code}", flush=True)
        return None
    return json.loads(out.read_text())


def machine() -> dict[str, object]:
    """What ratios hang on besides the code."""
    import torch

    cpu = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")
    if about.is_file():
        cpu = processor_of(about.read_text()) or cpu
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor_of(cpuinfo: str) -> str:
    """Name of a processor, with the numbers that tell its generation: virtual ones hide it.

    Args:
        cpuinfo: What Linux says in /proc/cpuinfo.

    Returns:
        Empty where it does not say.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    said: dict[str, str] = {}
    for key, _, value in lines:
        said.setdefault(key.strip(), value.strip())
    if "model name" not in said:
        return ""
    numbers = [f"{key} {said[key]}" for key in ("cpu family", "model") if key in said]
    return ", ".join([said["model name"], *numbers])


def main() -> int:
    """Run; return 1 where a ratio fell too far."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="compare with the record")
    action.add_argument("--record", action="store_true", help="write the record")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*BENCHMARKS, *GPU_BENCHMARKS),
        help="default: all, those for a GPU where there is one",
    )
    parser.add_argument("--file", type=Path, default=RECORDED, help="the record")
    args = parser.parse_args()
    here = machine()
    args.only = args.only or [*BENCHMARKS, *(GPU_BENCHMARKS if here["gpu"] else ())]
    if here["gpu"] is None and (idle := [name for name in args.only if name in GPU_BENCHMARKS]):
        parser.error(f"--only {' '.join(idle)}: torch finds no GPU here (make doctor says more)")
    record = json.loads(args.file.read_text()) if args.file.is_file() else {}
    if args.check and not record:
        parser.error(f"there is no {args.file}: write it with --record on this machine first")
    with tempfile.TemporaryDirectory() as folder:
        results = {name: run(name, Path(folder)) for name in args.only}
    found = {name: result for name, result in results.items() if result is not None}
    if args.record:
        args.file.write_text(json.dumps(merge(record, found, here), indent=2) + "\n")
        print(f"recorded {', '.join(found) or 'nothing'} in {args.file}")
        return 0 if found else 1
    known = record["benchmarks"]
    others = {name for name in args.only if name in known and known[name]["machine"] != here}
    if others:
        print(f"recorded on another machine, or with other versions: {', '.join(sorted(others))}")
    verdicts = compare(ratios_of(known, args.only), ratios_of(found, args.only))
    print(f"\n{'ratio':<50} {'recorded':>9} {'now':>9}  verdict")
    print(*verdicts, sep="\n")
    failed = [verdict for verdict in verdicts if verdict.fails]
    print(f"{len(failed)} of {len(verdicts)} ratios below {ENOUGH} of the record, or missing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
