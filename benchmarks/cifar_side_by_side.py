r"""Pretrain BAM and SimCLR on CIFAR-10 at the same time on one GPU, for the epochs that fit a time.

    python benchmarks/cifar_rates.py --data data/cifar10 --json rates.json
    python benchmarks/cifar_side_by_side.py data/cifar10 work_dirs/side_by_side \
        --rates rates.json --minutes 5

The configs are those of 200 epochs with a shorter schedule; the number of epochs follows from the
rates that ``cifar_rates.py`` found. ``--change bam=FILE`` adds the text of a file to BAM's config.
At the end, the online kNN (k = 200, temperature .1) of every training is printed, also of one that
was stopped because it took half a minute longer than ``--minutes``.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bam_mm.errors import InputError
from bam_mm.figures.curves import read_scalars
from bam_mm.launch.config import load_config
from benchmarks.cifar_rates import CONFIGS

START, SCORING, SCORED, GRACE = 30.0, 10.0, 7, 30.0
"""Seconds of the start and of a scoring, number of scorings, and seconds of patience at the end."""


def epochs_in(seconds: float, images: int, rates: dict[str, float]) -> int:
    """Return how many epochs of all methods fit, where they take turns on the GPU.

    Args:
        seconds: Time for everything.
        images: Number of training images.
        rates: Images per second of each method alone.
    """
    epoch = sum(images / rate for rate in rates.values())
    return max(2, int((seconds - START - SCORED * SCORING * len(rates)) / epoch))


def config_of(name: str, epochs: int, change: str) -> str:
    """Return the text of a method's config with its schedule shortened to some epochs."""
    base = load_config(ROOT / CONFIGS[name])

    def shortened(epoch: int) -> int:
        return max(1, round(epoch * epochs / base.train_cfg.max_epochs)) if epoch else 0

    steps = []
    for step in base.param_scheduler:
        begin, end = shortened(step.get("begin", 0)), shortened(step["end"])
        steps.append({**step, "begin": begin, "end": end})
        if "T_max" in step:
            steps[-1]["T_max"] = end - begin
    every = -(-epochs // (SCORED - 1))  # The first scoring is that of the random weights.
    return f"""_base_ = {str(ROOT / CONFIGS[name])!r}
train_cfg = dict(max_epochs={epochs})
param_scheduler = {steps!r}
custom_hooks = [
    {{**hook, "interval": {every}}} if hook["type"] == "bam_mm.OnlineKNNHook" else hook
    for hook in _base_.custom_hooks
]
default_hooks = dict(checkpoint=dict(interval={epochs}))
{change}
"""


def main() -> None:
    """Train both, and print their scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with train/CLASS and test/CLASS")
    parser.add_argument("work", type=Path, help="folder of the trainings")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, help="time for everything; needs --rates")
    length.add_argument("--epochs", type=int)
    parser.add_argument("--rates", type=Path, help="file that cifar_rates.py --json wrote")
    parser.add_argument("--change", nargs="+", default=[], metavar="METHOD=FILE")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) // 2 - 1))
    args = parser.parse_args()
    args.data, args.work = args.data.absolute(), args.work.absolute()
    if not (args.data / "train").is_dir():
        parser.error(f"{args.data} has no folder train/")
    if args.work.exists():
        parser.error(f"{args.work} exists: choose a new folder")
    epochs = args.epochs
    if epochs is not None and epochs < 2:
        parser.error(f"--epochs {epochs}: at least 2, of which BAM warms up for one")
    if epochs is None:
        if args.rates is None:
            parser.error("--minutes needs --rates FILE, which cifar_rates.py --json FILE writes")
        figures = json.loads(args.rates.read_text())["figures"] if args.rates.is_file() else {}
        if missing := CONFIGS.keys() - figures.keys():
            parser.error(f"--rates {args.rates}: no rates of {', '.join(sorted(missing))}")
        images = sum(1 for path in (args.data / "train").glob("*/*") if path.is_file())
        rates = {name: figures[name]["training"] for name in CONFIGS}
        epochs = epochs_in(60 * args.minutes, images, rates)
    print(f"{epochs} epochs of each", flush=True)
    changes = dict(change.partition("=")[::2] for change in args.change)
    for method, file in changes.items():
        if method not in map(str.lower, CONFIGS) or not Path(file).is_file():
            parser.error(f"--change {method}={file}: pass bam=FILE or simclr=FILE")
    running, end = {}, time.monotonic() + (60 * args.minutes + GRACE if args.minutes else 1e9)
    for name in CONFIGS:
        folder = args.work / name.lower()
        folder.mkdir(parents=True)
        change = changes.get(name.lower())
        text = config_of(name, epochs, Path(change).read_text() if change else "")
        (folder / "config.py").write_text(text)
        command = [sys.executable, "-m", "bam_mm", "train", str(folder / "config.py")]
        command += ["--work-dir", str(folder / "run"), "--cfg-options"]
        command += [f"data_root={args.data}"]
        command += [f"train_dataloader.num_workers={args.workers}"]
        with (folder / "log.txt").open("w") as log:
            running[name] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT
            )
    for name, process in running.items():
        try:
            code = process.wait(timeout=max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.terminate()
            code = process.wait()
        if code:
            print(f"{name} stopped (exit {code}): see {args.work / name.lower() / 'log.txt'}")
        try:
            series = read_scalars(args.work / name.lower() / "run")
        except InputError:  # It stopped before it logged anything.
            continue
        for key, points in series.items():
            if key.startswith("knn/") and key.endswith("top1"):
                print(name, key, " ".join(f"{value:.2f}" for _, value in points))


if __name__ == "__main__":
    main()
