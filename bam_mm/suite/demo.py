"""The demo: toy world, BAM pretraining, its scores, and every task of the toy suite."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from bam_mm.launch.watching import WATCHED
from bam_mm.models.bam import BAM, features_of
from bam_mm.models.building import build_untrained, log_only_warnings
from bam_mm.registry import DATASETS
from bam_mm.suite.definitions import Suite, load_suite
from bam_mm.suite.models import read_models
from bam_mm.suite.pictures import draw_pictures
from bam_mm.suite.planning import Settings, plan
from bam_mm.suite.running import run_all
from bam_mm.suite.untrained_features import colour_histogram, raw_pixels

CONFIG = "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
K = 20
_ITERATION = re.compile(r"Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\].* loss: (\S+)")
BAM_NAME, RANDOM_NAME = "BAM teacher", "random weights"

RANDOM_MODEL = "random weights=random:vit-toy-p8"
MOST_JOBS = 4
"""Runs side by side at most: each takes a gigabyte."""


@dataclass(frozen=True)
class FirstResult:
    """kNN top-1 in per cent by feature, for one seed, and where the picture is."""

    seed: int
    scores: dict[str, float]
    picture: Path


def run_demo(
    seed: int,
    root: Path,
    *,
    data: Path,
    out: Path,
    scale: float = 1.0,
    options: tuple[str, ...] = (),
) -> FirstResult:
    """Make the toy world, pretrain with BAM through the runner, score, draw.

    Args:
        seed: Of the world, the weights and the training.
        root: Root of the repository, where ``configs`` and ``tools`` are.
        data: Folder of the toy worlds.
        out: Work folder. A demo that was interrupted there goes on.
        scale: Of the toy world.
        options: More ``--cfg-options`` for the training.

    Returns:
        The scores.
    """
    data = data / ("toy" if seed == 0 else f"toy-seed{seed}")
    make_world(data, seed=seed, scale=scale)
    overrides = [f"data_root={data / 'images'}", f"randomness.seed={seed}", *options]
    pretrain(root, out, overrides)
    config = load_config(root / CONFIG, {"data_root": str(data / "images")})
    return score(config, last_checkpoint(out), seed=seed, out=out)


def pretrain(root: Path, out: Path, overrides: list[str]) -> None:
    """Run ``tools/train.py --resume`` with a progress bar in place of its log.

    It ends with this process, however that is stopped: a training that outlived a killed demo would
    write into the folder of the next one.

    Raises:
        InputError: If the training stops with an error; its last words are in the message.
    """
    command = [sys.executable, str(root / "tools/train.py"), str(root / CONFIG)]
    command += ["--work-dir", str(out), "--resume", "--cfg-options", *overrides]
    columns = (
        TextColumn("BAM pretraining"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    epochs = Config.fromfile(str(root / CONFIG)).max_epochs
    tail: list[str] = []
    loss = knn = "-"
    with (
        Progress(*columns) as bar,
        subprocess.Popen(
            command,
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, WATCHED: str(os.getpid())},
        ) as process,
    ):
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
        raise InputError(
            f"the training ended with code {process.returncode}; its last lines:\n{''.join(tail)}"
        )


def last_checkpoint(out: Path) -> Path:
    """The newest whole checkpoint of a work folder.

    Raises:
        InputError: If there is none.
    """
    path, _ = newest_checkpoint(out)
    if path is None:
        raise InputError(f"{out} holds no checkpoint: run the training first")
    return path


def score(config: Config, checkpoint: Path, *, seed: int, out: Path) -> FirstResult:
    """Score the trained teacher against three features that learned nothing.

    Args:
        config: The training's config.
        checkpoint: Of the training.
        seed: Of the random network: the training's own start.
        out: Folder for ``first_result.json`` and ``first_result.png``.
    """
    init_default_scope(config.default_scope)
    log_only_warnings()
    bank_images, bank_labels, names = _read(config.knn_bank)
    images, labels, _ = _read(config.knn_queries)
    features = {}
    for name in (BAM_NAME, RANDOM_NAME):
        model = build_untrained(config.model, seed=seed)
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
    tasks: list[str] | None = None,
    limit: int | None = None,
    say: Callable[[str], None] = print,
) -> tuple[Suite, int]:
    """Run the toy suite for a checkpoint and random weights.

    Args:
        checkpoint: Of BAM.
        data: Folder in which the toy world ``toy`` lies.
        out: Work folder of the benchmark. What is done there is not done again.
        tasks: Names; None for all.
        limit: Images of each data set at most, for a try.
        say: Is told the progress.

    Returns:
        The suite, and how many runs have no result.
    """
    for percent in (10, 1):
        if not (data / "toy/images/subsets" / subset_name(percent, 0)).is_file():
            write_subset(data / "toy/images", percent=percent)
    log_only_warnings()
    suite = load_suite("toy")
    models = read_models([f"BAM=bam:{checkpoint}", RANDOM_MODEL])
    settings = Settings(folder=out.absolute(), data=data.absolute(), limit=limit)
    runs = plan(suite, suite.choose(tasks), models, [0], settings)
    jobs = min(os.cpu_count() or 1, MOST_JOBS)
    say(f"every task for {' and '.join(m.name for m in models)}, {jobs} at a time:")
    missing = run_all(runs, say, jobs=jobs)
    draw_pictures(runs, say)
    return suite, missing


@torch.no_grad()
def _encode(model: BAM, images: Tensor, batch: int = 250) -> Tensor:
    parts = []
    for part in images.split(batch):
        data = model.data_preprocessor({"inputs": part, "data_samples": None}, False)
        parts.append(features_of(model.branch("teacher"), data["inputs"]))
    return torch.cat(parts)


def _read(loader: dict) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """All images (N, 3, H, W) uint8 BGR, their labels, and the class names."""
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
    # One query of each of the first classes.
    rows = [int((labels == c).nonzero()[0]) for c in labels.unique()[:7]]
    neighbours, correct = {}, {}
    for name in (BAM_NAME, RANDOM_NAME):
        stored, asked = (torch.nn.functional.normalize(f, dim=1) for f in features[name])
        nearest = (asked[rows] @ stored.T).topk(5, dim=1).indices
        neighbours[name] = _to_rgb(bank_images[nearest])
        correct[name] = (bank_labels[nearest] == labels[rows][:, None]).numpy()
    curve = read_scalars(out).get("knn/teacher_top1", [])
    return plot_first_result(
        scores, curve, _to_rgb(images[rows]), neighbours, correct, out / "first_result.png"
    )


def _to_rgb(images: Tensor) -> np.ndarray:
    """(..., 3, H, W) BGR to (..., H, W, 3) RGB."""
    return images.flip(-3).movedim(-3, -1).numpy()
