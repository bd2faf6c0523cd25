"""Run every benchmark and compare its ratios with the recorded ones.

    python benchmarks/run_all.py --record    # writes benchmarks/recorded.json
    python benchmarks/run_all.py --check     # fails if a ratio drops below 0.7 of the recorded one
    python benchmarks/run_all.py --check --only knn davis_j_and_f

If there is a GPU, the benchmarks that need one run last. To run only these, pass their names to
``--only``.

The check compares ratios (baseline / ours, both measured in one process) instead of seconds,
because they vary less between machines. They still depend on the number of cores and on other work
on the machine, so run the check on an idle machine, and record again on another machine.
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
GPU_STEP = ("training_step.py", "--device", "cuda", "--runs", "5", "--backbone")
MAIN_VARIANTS = ("--variants", "ours", "mocov3", "compiled")  # ViT-B also measures the others.
BENCHMARKS = {
    "loss": ("loss.py",),
    "data": ("data.py",),
    "training_step": (*STEP, "vit-small-p16"),
    "training_step_vit_base": (*STEP, "vit-base-p16", "--batch", "2"),
    "training_step_resnet50": (*STEP, "resnet50"),
    "feature_extraction": ("feature_extraction.py",),
    "knn": ("knn.py",),
    "logistic_regression": ("logistic_regression.py",),
    "linear_probe": ("linear_probe.py",),
    "label_propagation": ("label_propagation.py",),
    "davis_j_and_f": ("davis_j_and_f.py",),
    "startup": ("startup.py",),
}
"""Scripts and arguments by name. These benchmarks run on a CPU, even if there is a GPU."""
GPU_BENCHMARKS = {
    "gpu_loss": ("loss.py", "--device", "cuda"),
    "gpu_data": ("data.py", "--device", "cuda"),
    "gpu_training_step_vit_base": (*GPU_STEP, "vit-base-p16", "--batch", "128", "--compiled"),
    "gpu_training_step_vit_small": (*GPU_STEP, "vit-small-p16", "--batch", "256", *MAIN_VARIANTS),
    "gpu_training_step_resnet50": (*GPU_STEP, "resnet50", "--batch", "128", *MAIN_VARIANTS),
}
"""Scripts and arguments by name. These benchmarks need a GPU."""
ENOUGH = 0.7
"""Part of a recorded ratio that a check must reach."""

Ratios = Mapping[str, Mapping[str, float]]
"""Ratios by benchmark and name."""


@dataclass(frozen=True)
class Verdict:
    """Result of the comparison of one ratio.

    Attributes:
        name: Name in the form ``benchmark: ratio``.
        recorded: Recorded ratio; None if it was not recorded.
        now: Ratio measured now; None if it was not measured.
        word: Verdict, ``ok``, ``SLOWER``, ``MISSING`` or ``new``.
    """

    name: str
    recorded: float | None
    now: float | None
    word: str

    @property
    def fails(self) -> bool:
        """Whether this verdict makes the check fail."""
        return self.word in ("SLOWER", "MISSING")

    def __str__(self) -> str:
        recorded, now = (
            "-" if ratio is None else f"{ratio:.2f}" for ratio in (self.recorded, self.now)
        )
        return f"{self.name:<50} {recorded:>9} {now:>9}  {self.word}"


def compare(recorded: Ratios, now: Ratios, enough: float = ENOUGH) -> list[Verdict]:
    """Compare ratios with the recorded ones.

    Args:
        recorded: Recorded ratios.
        now: Ratios measured now.
        enough: Part of a recorded ratio that must be reached.

    Returns:
        One verdict for each ratio in either of them. A recorded ratio that is missing fails, like
        one that dropped. A new ratio never fails.
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
    """Return the record with new results of some benchmarks; the others are kept.

    Args:
        recorded: Previous record; an empty dict if there is none.
        found: Content of the file written by ``--json``, by benchmark.
        here: Description of this machine.
    """
    entries = {name: {**result, "machine": dict(here)} for name, result in found.items()}
    benchmarks = {**recorded.get("benchmarks", {}), **entries}
    return {"benchmarks": {name: benchmarks[name] for name in sorted(benchmarks)}}


def ratios_of(record: Mapping, only: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the ratios of some benchmarks from a record or from new results."""
    return {name: dict(record[name]["ratios"]) for name in only if name in record}


def run(name: str, folder: Path) -> dict | None:
    """Run one benchmark; print the reason and return None if it cannot be run or fails."""
    file, *options = {**BENCHMARKS, **GPU_BENCHMARKS}[name]
    script, out = ROOT / "benchmarks" / file, folder / f"{name}.json"
    if not script.is_file():
        print(f"== {name}: skipped, there is no {script.relative_to(ROOT)}", flush=True)
        return None
    if "add_json_option" not in script.read_text():
        print(f"== {name}: skipped, it has no option --json", flush=True)
        return None
    print(f"== {name}", flush=True)
    line = [sys.executable, str(script), "--json", str(out), *options]
    code = subprocess.run(line, cwd=ROOT).returncode
    if code or not out.is_file():
        print(f"== {name}: failed with exit code {code}", flush=True)
        return None
    return json.loads(out.read_text())


def machine() -> dict[str, object]:
    """Return what the ratios depend on besides the code."""
    import torch

    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        cpu = processor_of(cpuinfo.read_text()) or cpu
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
    """Return the name of a processor with family and model, since virtual machines hide the latter.

    Args:
        cpuinfo: Content of /proc/cpuinfo (Linux).

    Returns:
        The name; empty if the file does not contain one.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    fields: dict[str, str] = {}
    for key, _, value in lines:
        fields.setdefault(key.strip(), value.strip())
    if "model name" not in fields:
        return ""
    numbers = [f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields]
    return ", ".join([fields["model name"], *numbers])


def main() -> int:
    """Run the benchmarks; return 1 if a check fails or nothing could be recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="compare with the record")
    action.add_argument("--record", action="store_true", help="write the record")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=(*BENCHMARKS, *GPU_BENCHMARKS),
        help="default: all, including those for a GPU if there is one",
    )
    parser.add_argument("--file", type=Path, default=RECORDED, help="file of the record")
    args = parser.parse_args()
    here = machine()
    args.only = args.only or [*BENCHMARKS, *(GPU_BENCHMARKS if here["gpu"] else ())]
    if here["gpu"] is None and (idle := [name for name in args.only if name in GPU_BENCHMARKS]):
        parser.error(f"--only {' '.join(idle)}: torch finds no GPU here (make doctor checks it)")
    record = json.loads(args.file.read_text()) if args.file.is_file() else {}
    if args.check and not record:
        parser.error(f"{args.file} does not exist: create it with --record on this machine first")
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
