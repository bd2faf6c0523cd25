"""The demo: make the toy world, pretrain with BAM, compute kNN scores and run the toy suite."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.data import DataLoader

from bam_mm.checkpoint import load_weights, newest_checkpoint
from bam_mm.data.subsets import subset_name, write_subset
from bam_mm.data.toy import make_world
from bam_mm.errors import InputError
from bam_mm.evaluation import knn_predict
from bam_mm.figures.curves import read_scalars
from bam_mm.figures.first_result import plot_first_result
from bam_mm.launch.config import load_config
from bam_mm.launch.option_text import split_option
from bam_mm.launch.paths import child_environment, module_command
from bam_mm.launch.watching import WATCHED
from bam_mm.models.bam import BAM
from bam_mm.models.building import build_untrained, log_only_warnings
from bam_mm.models.siamese import features_of
from bam_mm.registry import DATASETS
from bam_mm.suite.definitions import Suite, load_suite
from bam_mm.suite.models import read_models
from bam_mm.suite.pictures import draw_pictures
from bam_mm.suite.planning import Settings, plan
from bam_mm.suite.untrained_features import colour_histogram, raw_pixels
from bam_mm.suite.worker import Log
from bam_mm.suite.workers import run_all

CONFIG = "pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy"
K = 20
_ITERATION = re.compile(r"Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\].* loss: (\S+)")
BAM_NAME, RANDOM_NAME = "BAM teacher", "random weights"

RANDOM_MODEL = "random weights=random:vit-toy-p8"
LEFT_OUT = ("det", "dense_knn", "linear-many")
"""Tasks of the toy suite that the demo runs only by name. The toy detector learns the simple shapes
from random weights as well as from pretrained ones, and random patches find shapes of the same
colour as well, so both would show a draw. The demo has a linear probe with one setting.
"""

MOST_JOBS = 4
"""Maximum number of runs in parallel; each needs about 1 GB of memory."""


@dataclass(frozen=True)
class FirstResult:
    """kNN scores of one seed.

    Attributes:
        seed: Seed of the toy world, the weights and the training.
        scores: Top-1 accuracy in per cent for each feature.
        picture: Path of the figure.
    """

    seed: int
    scores: dict[str, float]
    picture: Path


def run_demo(
    seed: int,
    *,
    data: Path,
    out: Path,
    scale: float = 1.0,
    options: tuple[str, ...] = (),
) -> FirstResult:
    """Make the toy world, pretrain with BAM, score the result and draw a figure.

    Args:
        seed: Seed of the toy world, the weights and the training.
        data: Folder of the toy worlds.
        out: Work folder. An interrupted demo resumes there.
        scale: Factor for the number of images in the toy world.
        options: Additional ``--cfg-options`` for the training.

    Returns:
        The scores.

    Raises:
        InputError: If an option does not fit the config, or if the training fails.
    """
    load_config(CONFIG, dict(split_option(text) for text in options))  # before the hard work
    data = data / ("toy" if seed == 0 else f"toy-seed{seed}")
    # The other parts wait until the first result is shown.
    make_world(data, seed=seed, scale=scale, only=("images",))
    overrides = [f"data_root={data / 'images'}", f"randomness.seed={seed}", *options]
    pretrain(out, overrides)
    config = load_config(CONFIG, {"data_root": str(data / "images")})
    return score(config, last_checkpoint(out), seed=seed, out=out)


def pretrain(out: Path, overrides: list[str]) -> None:
    """Run ``bam-mm train --resume`` and show a progress bar instead of its log.

    If this process is killed, the training ends too. Otherwise it would write to the work folder of
    the next demo.

    Args:
        out: Work folder.
        overrides: ``--cfg-options`` of the training.

    Raises:
        InputError: If the training fails; the message contains the last lines of its log.
    """
    command = module_command("train", CONFIG)
    command += ["--work-dir", str(out), "--resume", "--cfg-options", *overrides]
    columns = (
        TextColumn("BAM pretraining"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    epochs = load_config(CONFIG).max_epochs
    tail: list[str] = []
    loss = knn = "-"
    with (
        Progress(*columns) as bar,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=child_environment(
                # Where there are few cores, threads that wait actively slow the loader down.
                {WATCHED: str(os.getpid()), "OMP_WAIT_POLICY": "PASSIVE"}
            ),
        ) as process,
    ):
        assert process.stdout is not None  # It is a pipe.
        task = bar.add_task("starting", total=epochs)
        for line in process.stdout:
            tail = [*tail[-19:], line]
            if found := _ITERATION.search(line):
                epoch, step, steps = (int(found[i]) for i in (1, 2, 3))
                loss = found[4]
                bar.update(task, completed=epoch - 1 + step / steps)
            elif found := re.search(r"kNN after .*: teacher (\S+ %)", line):
                knn = found[1]
            bar.update(task, description=f"loss {loss}, kNN {knn}")
        bar.update(task, completed=epochs)
    if process.returncode:
        if errors := [line for line in tail if line.startswith("error: ")]:
            raise InputError(f"{errors[-1].removeprefix('error: ').strip()} (of the demo: --out)")
        raise InputError(
            f"the training failed with exit code {process.returncode}; its last lines:\n"
            f"{''.join(tail)}"
        )


def last_checkpoint(out: Path) -> Path:
    """Return the newest complete checkpoint of a work folder.

    Raises:
        InputError: If the folder has no complete checkpoint.
    """
    path, _ = newest_checkpoint(out)
    if path is None:
        raise InputError(f"{out} has no checkpoint: run the training first")
    return path


def score(config: Config, checkpoint: Path, *, seed: int, out: Path) -> FirstResult:
    """Compare the trained teacher with three untrained features by kNN.

    Args:
        config: Config of the training.
        checkpoint: Checkpoint of the training.
        seed: Seed of the random network. With the seed of the training, these are the weights that
            the training started from.
        out: Folder for ``first_result.json`` and ``first_result.png``.
    """
    init_default_scope(config.default_scope)
    log_only_warnings()
    bank_images, bank_labels, names = _read(config.knn_bank)
    images, labels, _ = _read(config.knn_queries)
    features = {}
    for name in (BAM_NAME, RANDOM_NAME):
        model: Any = build_untrained(config.model, seed=seed)
        if name == BAM_NAME:
            load_weights(model, checkpoint)
        features[name] = [_encode(model, x) for x in (bank_images, images)]
    features["colour histogram"] = [colour_histogram(x) for x in (bank_images, images)]
    features["raw pixels"] = [raw_pixels(x) for x in (bank_images, images)]
    scores = {
        name: _knn_top1(bank, bank_labels, queries, labels, len(names))
        for name, (bank, queries) in features.items()
    }
    picture = _draw(out, scores, features, (bank_images, bank_labels), (images, labels))
    result = {"seed": seed, "k": K, "bank": len(bank_images), "queries": len(images), **scores}
    (out / "first_result.json").write_text(json.dumps(result, indent=2) + "\n")
    return FirstResult(seed, scores, picture)


def run_toy_suite(
    checkpoint: Path,
    *,
    data: Path,
    out: Path,
    scale: float = 1.0,
    tasks: list[str] | None = None,
    limit: int | None = None,
    log: Log = print,
) -> tuple[Suite, int]:
    """Run the toy suite for a checkpoint and for random weights.

    Args:
        checkpoint: Checkpoint of a BAM pretraining.
        data: Folder that contains the toy world ``toy``.
        out: Work folder of the benchmark. Finished runs in it are skipped.
        scale: Factor for the number of images in the toy world.
        tasks: Names of the tasks, None for all but :data:`LEFT_OUT`.
        limit: Maximum number of images of each data set, None for all.
        log: Function that receives progress messages.

    Returns:
        The suite and the number of runs without a result.
    """
    make_world(data / "toy", scale=scale)
    for percent in (10, 1):
        if not (data / "toy/images/subsets" / subset_name(percent, 0)).is_file():
            write_subset(data / "toy/images", percent=percent)
    log_only_warnings()
    suite = load_suite("toy")
    models = read_models([f"BAM=bam:{checkpoint}", RANDOM_MODEL])
    settings = Settings(folder=out.absolute(), data=data.absolute(), limit=limit)
    if tasks is None:
        tasks = [task.name for task in suite.tasks if task.name not in LEFT_OUT]
    runs = plan(suite, suite.choose(tasks), models, [0], settings)
    jobs = min(os.cpu_count() or 1, MOST_JOBS)
    names = " and ".join(model.name for model in models)
    log(f"running {len(tasks)} tasks for {names}, {jobs} in parallel:")
    missing = run_all(runs, log, jobs=jobs)
    draw_pictures(runs, log)
    return suite, missing


@torch.no_grad()
def _encode(model: BAM, images: Tensor, batch: int = 250) -> Tensor:
    parts = []
    for part in images.split(batch):
        data = model.data_preprocessor({"inputs": part, "data_samples": None}, False)
        parts.append(features_of(model.branch("teacher"), data["inputs"]))
    return torch.cat(parts)


def _read(loader: dict) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Return all images, (N, 3, H, W) uint8 BGR, their labels and the class names."""
    dataset = DATASETS.build(loader["dataset"])
    batches = list(DataLoader(dataset, batch_size=250, collate_fn=default_collate))
    images = torch.cat([batch["inputs"] for batch in batches])
    labels = torch.cat([s.gt_label for batch in batches for s in batch["data_samples"]])
    return images, labels, dataset.CLASSES


def _knn_top1(bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, n: int) -> float:
    votes = knn_predict(bank, bank_labels, queries, num_classes=n, k=K)
    return 100.0 * (votes.argmax(dim=1) == labels).double().mean().item()


def _draw(out: Path, scores: dict, features: dict, bank: tuple, queries: tuple) -> Path:
    images, labels = queries
    bank_images, bank_labels = bank
    # One query image of each of the first seven classes.
    rows = [int((labels == c).nonzero()[0]) for c in labels.unique()[:7]]
    neighbours, correct = {}, {}
    for name in (BAM_NAME, RANDOM_NAME):
        stored, queried = (torch.nn.functional.normalize(f, dim=1) for f in features[name])
        nearest = (queried[rows] @ stored.T).topk(5, dim=1).indices
        neighbours[name] = _to_rgb(bank_images[nearest])
        correct[name] = (bank_labels[nearest] == labels[rows][:, None]).numpy()
    curve = read_scalars(out).get("knn/teacher_top1", [])
    return plot_first_result(
        scores, curve, _to_rgb(images[rows]), neighbours, correct, out / "first_result.png"
    )


def _to_rgb(images: Tensor) -> np.ndarray:
    """Convert (..., 3, H, W) BGR to (..., H, W, 3) RGB."""
    return images.flip(-3).movedim(-3, -1).numpy()
