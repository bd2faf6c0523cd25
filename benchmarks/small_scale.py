r"""Settings of BAM, SimCLR and BYOL for small data: every method gets the same number of tries.

    python benchmarks/small_scale.py prepare cifar10 data/cifar10-10k
    python benchmarks/small_scale.py run data/cifar10-10k work_dirs/small_scale [--only bam simclr]
    python benchmarks/small_scale.py table work_dirs/small_scale
    python benchmarks/small_scale.py ablate data/cifar10-10k work_dirs/small_scale_ablations
    python benchmarks/small_scale.py signs work_dirs/small_scale_ablations

``prepare`` links a part of CIFAR-10 as image folders (``train/CLASS``, ``test/CLASS``): of each
class the first 1,000 training images for training, the next 200 as validation images, and the first
200 test images. The tries are scored by kNN (k = 20) on the validation images; no try sees the test
images. A run is one of ``TRIES`` or ``SECOND_ROUND``: the short setting of ``configs/methods`` with
changes, seed 0. Several calls of ``run`` share a work folder: each takes the next try that none has
begun. The folder of a try that is interrupted is deleted, so that another call repeats it.
``table`` also lists the tries that have begun without a record: they are running, or their call was
killed (SIGKILL), and then their folder has to be deleted by hand.

``ablate`` trains BAM as in its short config, and with one part of Table 1 of the paper switched
off, with seeds that the tries have not had, and scores on the test images. ``signs`` prints means
and standard deviations. Both work like ``run`` and ``table``.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

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
SGD = """optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.24, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(_delete_=True),
    clip_grad=None,
)"""
"""SimCLR's optimizer, with the learning rate that suited it best among the first tries."""


def rate(value, decay=None):
    """Return the text that sets the learning rate, and the weight decay unless it is None."""
    more = "" if decay is None else f", weight_decay={decay}"
    return f"optim_wrapper = dict(optimizer=dict(lr={value}{more}))"


def bam(temperature, target, more=""):
    """Return the text that sets BAM's temperatures and the projector."""
    head = f"dict(temperature={temperature}, target_temperature={target})"
    return f"model = dict(head={head}, neck=dict({more}))"


def simclr(temperature, more=""):
    """Return the text that sets SimCLR's temperature and the projector."""
    return f"model = dict(head=dict(temperature={temperature}), neck=dict({more}))"


NARROW = "out_channels=128"
UNMASKED = "model = dict(head=dict(mask_positives=False))"
ALONE = "model = dict(use_teacher=False)\ncustom_hooks = _base_.custom_hooks[1:]"


def teacher(momentum):
    """Return the text that sets the teacher's momentum at the start."""
    hook = f"{{**_base_.custom_hooks[0], 'momentum': {momentum}}}"
    return f"custom_hooks = [{hook}, *_base_.custom_hooks[1:]]"


START = {
    "bam": rate(1e-3),
    "simclr": simclr(0.5) + "\n" + rate(0.12),
    "byol": rate(0.12, 5e-4),
}
"""Settings of the short configs when the study began, by method; a try may replace them."""

TRIES = {
    "bam": {
        "base: .2/.1, width 512, teacher .97": "",
        ".1/.05, width 128": bam(0.1, 0.05, NARROW),
        "learning rate 3e-3": rate(3e-3),
        "no masking of positives": UNMASKED,
        "teacher .9": teacher(0.9),
        "no teacher": ALONE,
        "learning rate 1e-2": rate(1e-2),
        "SGD, learning rate .24": SGD,
        "SGD, learning rate .24, teacher .9": SGD + "\n" + teacher(0.9),
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
        "momentum .9": teacher(0.9),
        "learning rate .24": rate(0.24, 5e-4),
        "momentum .9, learning rate .24": teacher(0.9) + "\n" + rate(0.24, 5e-4),
        "AdamW 1e-3": ADAMW,
        "learning rate .48": rate(0.48, 5e-4),
        "momentum .99": teacher(0.99),
        "learning rate .06": rate(0.06, 5e-4),
        "weight decay 1e-4": rate(0.12, 1e-4),
    },
}
"""What every try of the first round changes, as the text of a config, by method and description, in
their order. The short configs now have the settings of the best one."""

HALF = "train_dataloader = dict(batch_size=128)\n"
MULTI_CROP = """layout = dict(num_global=2, num_local=4, global_size=32, local_size=16)
photometric = [*_base_.photometric, *4 * [dict(blur_prob=0.0)]]
_base_.train_pipeline[1].update(layout=layout, local_scale=(0.05, 0.2), photometric=photometric)
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))
model = dict(layout=layout, data_preprocessor=dict(layout=layout, photometric=photometric))"""
SECOND_ROUND = {
    "bam": {
        "batch 128, learning rate 5e-3": HALF + rate(5e-3),
        "no masking, teacher .9": UNMASKED + "\n" + teacher(0.9),
        "multi-crop, 4 x 16 px": MULTI_CROP,
        "10 balancing iterations": "model = dict(head=dict(sinkhorn_iters=10))",
        "no BatchNorm in the projector": "model = dict(neck=dict(norm=False))",
    },
    "simclr": {
        "batch 128, learning rate .12": HALF + rate(0.12),
        ".1": simclr(0.1),
        "hidden width 2048": simclr(0.2, "hid_channels=2048"),
        "batch 128": HALF,
        ".15": simclr(0.15),
    },
    "byol": {
        "batch 128, learning rate .06": HALF + rate(0.06),
        "momentum .9": teacher(0.9),
        "hidden width 2048": "model = dict(neck=dict(hid_channels=2048), "
        "predictor=dict(hid_channels=2048))",
        "batch 128": HALF,
        "weight decay 1e-5": rate(0.12, 1e-5),
    },
}
"""What every try of the second round changes in the short config, that is, in the best setting of
the first round. It was made last, with what that left out, and changed no config."""


ABLATIONS = {
    "as configured": "",
    "no balancing": "model = dict(head=dict(sinkhorn_iters=0))",
    "no masking of positives": UNMASKED,
    "normalised per view": "model = dict(head=dict(global_normalisation=False))",
}
"""Parts of Table 1 that are switched off in BAM's short config, as texts of a config."""
SEEDS = (1, 2, 3)
"""Seeds of the ablations. The tries have seed 0."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
INTERRUPTED = {code for number in SIGNALS for code in (-number, 128 + number)}
"""Exit codes of a training that was interrupted, and did not stop by itself."""


@dataclass(frozen=True)
class Training:
    """One training of the study.

    Attributes:
        folder: Name of its folder.
        method: Method, as in the names of the configs.
        name: Description for the table.
        change: What it changes in the short config, as the text of a config.
        seed: Seed.
        split: Images that score it, ``val`` or ``test``.
    """

    folder: str
    method: str
    name: str
    change: str
    seed: int = 0
    split: str = "val"


def tries(methods):
    """Return the tries of some methods, the first of each method first."""
    changes = {
        method: [(name, START[method] + "\n" + text) for name, text in TRIES[method].items()]
        + [(f"best, {name}", text) for name, text in SECOND_ROUND[method].items()]
        for method in methods
    }
    return [
        Training(f"{method}-{number}", method, *changes[method][number])
        for number in range(max(map(len, changes.values())))
        for method in methods
        if number < len(changes[method])
    ]


def ablations():
    """Return the ablations, all of a seed before the next seed."""
    return [
        Training(f"ablation-{number}-seed{seed}", "bam", name, change, seed, "test")
        for seed in SEEDS
        for number, (name, change) in enumerate(ABLATIONS.items())
    ]


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


def run(data, work, trainings):
    """Run every training that no other call has begun."""
    for training in trainings:
        folder = work / training.folder
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        print(f"{training.method}, {training.name}, seed {training.seed}", flush=True)
        try:
            record = attempt(data, folder, training)
        except BaseException:
            shutil.rmtree(folder)
            raise
        if record["code"] in INTERRUPTED:
            print(f"interrupted (exit {record['code']}): another call repeats it", flush=True)
            shutil.rmtree(folder)
        else:
            (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")


def attempt(data, folder, training):
    """Train in a folder, and return the record."""
    base = ROOT / CONFIG.format(training.method)
    (folder / "config.py").write_text(f"_base_ = {str(base)!r}\n{training.change}\n")
    start = time.monotonic()
    with (folder / "run.log").open("w") as log:
        code = subprocess.run(
            [
                *(sys.executable, "-m", "bam_mm", "train", str(folder / "config.py")),
                *("--work-dir", str(folder / "run"), "--cfg-options"),
                f"data_root={data.absolute()}",
                f"test_dataloader.dataset.split={training.split}",
                f"randomness.seed={training.seed}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        ).returncode
    record = {**asdict(training), "code": code}
    record["seconds"] = round(time.monotonic() - start, 1)
    if code == 0:
        series = read_scalars(folder / "run")
        record["knn"] = {
            branch: [round(value, 2) for _, value in series[key]]
            for branch in ("student", "teacher")
            if (key := f"knn/{branch}_top1") in series
        }
        record["last"] = {key: round(series[key][-1][1], 3) for key in SHOWN if key in series}
    return record


def records(work, trainings):
    """Return each training that has begun, and its record, or None if there is none yet."""
    found = []
    for training in trainings:
        folder = work / training.folder
        if folder.is_dir():
            file = folder / "record.json"
            found.append((training, json.loads(file.read_text()) if file.is_file() else None))
    return found


def table(work):
    """Print all tries as a Markdown table."""
    print("| Method | Try | Student | Teacher | Target entropy | Spread | s |")
    print("|---|---|---|---:|---:|---:|---:|")
    for method in TRIES:
        for training, record in records(work, tries([method])):
            start = f"| {training.method} | {training.name} |"
            if record is None:
                print(f"{start} not finished | | | | |")
                continue
            knn, last = record.get("knn", {}), record.get("last", {})
            student = " ".join(f"{value:.1f}" for value in knn.get("student", ()))
            teacher = f"{knn['teacher'][-1]:.1f}" if "teacher" in knn else ""
            print(
                f"{start} {student or 'stopped (exit {})'.format(record['code'])} | {teacher} "
                f"| {last.get('target_entropy', '')} | {last.get('feature_std', '')} "
                f"| {record['seconds']:.0f} |"
            )


def signs(work):
    """Print mean and standard deviation of each ablation as a Markdown table."""
    scores = {name: {"student": [], "teacher": []} for name in ABLATIONS}
    for training, record in records(work, ablations()):
        for branch, values in scores[training.name].items():
            if record and record["code"] == 0:
                values.append(record["knn"][branch][-1])
    print("| | Seeds | Student | Teacher |")
    print("|---|---:|---:|---:|")
    for name, branches in scores.items():
        shown = (
            f"{mean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else ""
            for values in branches.values()
        )
        print(f"| {name} | {len(branches['student'])} | {' | '.join(shown)} |")


def main():
    """Run a part of the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("prepare", "run", "table", "ablate", "signs"))
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", nargs="+", choices=TRIES, default=list(TRIES))
    args = parser.parse_args()
    count = 1 if args.part in ("table", "signs") else 2
    if len(args.folders) != count:
        parser.error(f"{args.part} takes {count} folders, not {len(args.folders)}")
    parts = {"prepare": "train test", "run": "train val", "ablate": "train test"}
    needed = parts.get(args.part, "").split()
    for folder in (args.folders[0] / name for name in ("", *needed)):
        if not folder.is_dir():
            parser.error(f"{folder} is no folder")
    # As Ctrl-C: an exception, which stops the training and deletes its folder.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    if args.part == "prepare":
        prepare(*args.folders)
    elif args.part == "run":
        run(*args.folders, tries(args.only))
    elif args.part == "ablate":
        run(*args.folders, ablations())
    elif args.part == "table":
        table(*args.folders)
    else:
        signs(*args.folders)


if __name__ == "__main__":
    main()
