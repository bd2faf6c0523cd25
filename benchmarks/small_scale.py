r"""Settings of BAM, SimCLR and BYOL for small data: every method gets the same number of tries.

    python benchmarks/small_scale.py prepare cifar10 data/cifar10-10k
    python benchmarks/small_scale.py run data/cifar10-10k work_dirs/small_scale [--only bam simclr]
    python benchmarks/small_scale.py table work_dirs/small_scale

``prepare`` links a part of CIFAR-10 as image folders (``train/CLASS``, ``test/CLASS``): of each
class the first 1,000 training images for training, the next 200 as validation images, and the first
200 test images. The tries are scored by kNN (k = 20) on the validation images; no try sees the test
images. A run is one of ``TRIES``: the short setting of ``configs/methods`` with changes, seed 0.
Several calls of ``run`` share a work folder: each takes the next try that none has begun. The
folder of a try that is interrupted is deleted, so that another call repeats it. ``table`` also
lists the tries that have begun without a record: they are running, or their call was killed
(SIGKILL), and then their folder has to be deleted by hand.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bam_mm.figures.curves import read_scalars

CONFIG = "configs/methods/{}_resnet18-w16_1xb256-coslr-5e_cifar10.py"
SHOWN = ("attention_entropy", "target_entropy", "feature_std")

ADAMW = """optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.04),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    clip_grad=dict(max_norm=3.0),
)"""
"""BAM's optimizer."""


def rate(value):
    """Return the text that sets a learning rate."""
    return f"optim_wrapper = dict(optimizer=dict(lr={value}))"


def bam(temperature, target, more=""):
    """Return the text that sets BAM's temperatures and the projector."""
    head = f"dict(temperature={temperature}, target_temperature={target})"
    return f"model = dict(head={head}, neck=dict({more}))"


def simclr(temperature, more=""):
    """Return the text that sets SimCLR's temperature and the projector."""
    return f"model = dict(head=dict(temperature={temperature}), neck=dict({more}))"


NARROW = "out_channels=128"
ALONE = "model = dict(use_teacher=False)\ncustom_hooks = _base_.custom_hooks[1:]"
FASTER = "custom_hooks = [{**_base_.custom_hooks[0], 'momentum': .9}, *_base_.custom_hooks[1:]]"

TRIES = {
    "bam": {
        "base: .2/.1, width 512, teacher .97": "",
        ".1/.05, width 128": bam(0.1, 0.05, NARROW),
        "learning rate 3e-3": rate(3e-3),
        "no masking of positives": "model = dict(head=dict(mask_positives=False))",
        "teacher .9": FASTER,
        "no teacher": ALONE,
        ".1/.05": bam(0.1, 0.05),
        ".4/.2": bam(0.4, 0.2),
        "width 128": bam(0.2, 0.1, NARROW),
    },
    "simclr": {
        "base: .5, learning rate .12": "",
        ".2": simclr(0.2),
        ".2, learning rate .24": simclr(0.2) + "\n" + rate(0.24),
        ".1": simclr(0.1),
        ".2, AdamW 1e-3": simclr(0.2) + "\n" + ADAMW,
        ".2, learning rate .48": simclr(0.2) + "\n" + rate(0.48),
        ".2, width 512": simclr(0.2, "out_channels=512"),
        ".2, learning rate .06": simclr(0.2) + "\n" + rate(0.06),
        ".2, weight decay 1e-4": simclr(0.2)
        + "\noptim_wrapper = dict(optimizer=dict(weight_decay=1e-4))",
    },
    "byol": {
        "base: momentum .97, learning rate .12": "",
        "momentum .9": "model = dict(base_momentum=0.1)",
        "learning rate .24": rate(0.24),
        "momentum .9, learning rate .24": "model = dict(base_momentum=0.1)\n" + rate(0.24),
        "AdamW 1e-3": ADAMW,
        "learning rate .48": rate(0.48),
        "momentum .99": "model = dict(base_momentum=0.01)",
        "learning rate .06": rate(0.06),
        "weight decay 1e-4": "optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))",
    },
}
"""What every try changes, as the text of a config, by method and description, in their order."""


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
INTERRUPTED = {code for number in SIGNALS for code in (-number, 128 + number)}
"""Exit codes of a training that was interrupted, and did not stop by itself."""


def prepare(source, target):
    """Link the training, validation and test images."""
    parts = (("train", "train", 0, 1000), ("val", "train", 1000, 1200), ("test", "test", 0, 200))
    for part, folder, first, last in parts:
        for label in sorted((source / folder).iterdir()):
            out = target / part / label.name
            out.mkdir(parents=True, exist_ok=True)
            for image in sorted(label.iterdir())[first:last]:
                if not (out / image.name).exists():
                    os.link(image, out / image.name)


def run(data, work, methods):
    """Run every try that no other call has begun."""
    rounds = max(len(TRIES[method]) for method in methods)
    order = [(m, n) for n in range(rounds) for m in methods if n < len(TRIES[m])]
    for method, number in order:
        name, change = list(TRIES[method].items())[number]
        folder = work / f"{method}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        print(f"{method}, {name}", flush=True)
        try:
            record = attempt(data, folder, method, name, change)
        except BaseException:
            shutil.rmtree(folder)
            raise
        if record["code"] in INTERRUPTED:
            print(f"interrupted (exit {record['code']}): another call repeats it", flush=True)
            shutil.rmtree(folder)
        else:
            (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def attempt(data, folder, method, name, change):
    """Train a try in its folder, and return its record."""
    base = ROOT / CONFIG.format(method)
    (folder / "config.py").write_text(f"_base_ = {str(base)!r}\n{change}\n")
    start = time.monotonic()
    with (folder / "run.log").open("w") as log:
        code = subprocess.run(
            [
                *(sys.executable, "-m", "bam_mm", "train", str(folder / "config.py")),
                *("--work-dir", str(folder / "run"), "--cfg-options"),
                f"data_root={data.absolute()}",
                "test_dataloader.dataset.split=val",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        ).returncode
    record = {"method": method, "try": name, "change": change, "code": code}
    record["seconds"] = round(time.monotonic() - start, 1)
    if code == 0:
        series = read_scalars(folder / "run")
        record["knn"] = {
            key: [round(value, 2) for _, value in points]
            for key, points in series.items()
            if key.startswith("knn/")
        }
        record["last"] = {key: round(series[key][-1][1], 3) for key in SHOWN if key in series}
    return record


def table(work):
    """Print all tries as a Markdown table."""
    print("| Method | Try | kNN, epochs 0 to the last | target entropy | spread | s |")
    print("|---|---|---|---:|---:|---:|")
    names = {f"{m}-{n}": (m, name) for m in TRIES for n, name in enumerate(TRIES[m])}
    for folder in sorted(work.iterdir()):
        file = folder / "record.json"
        if not file.is_file():
            if folder.name in names:
                print("| {} | {} | not finished | | | |".format(*names[folder.name]))
            continue
        record = json.loads(file.read_text())
        knn = record.get("knn", {})
        curve = knn.get("knn/teacher_top1") or knn.get("knn/student_top1") or []
        shown = " ".join(f"{value:.1f}" for value in curve) or f"stopped (exit {record['code']})"
        last = record.get("last", {})
        print(
            f"| {record['method']} | {record['try']} | {shown} | {last.get('target_entropy', '')} "
            f"| {last.get('feature_std', '')} | {record['seconds']:.0f} |"
        )


def main():
    """Run a part of the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("prepare", "run", "table"))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", nargs="+", choices=TRIES, default=list(TRIES))
    args = parser.parse_args()
    count = 1 if args.part == "table" else 2
    if len(args.folders) != count:
        parser.error(f"{args.part} takes {count} folders, not {len(args.folders)}")
    needed = {"prepare": ("train", "test"), "run": ("train", "val")}.get(args.part, ())
    for folder in (args.folders[0] / name for name in ("", *needed)):
        if not folder.is_dir():
            parser.error(f"{folder} is no folder")
    # As Ctrl-C: an exception, which stops the training and deletes its folder.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    if args.part == "prepare":
        prepare(*args.folders)
    elif args.part == "run":
        run(*args.folders, args.only)
    else:
        table(*args.folders)


if __name__ == "__main__":
    main()
