"""Similarities of views of one image, one class and different classes (paper, Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from mmengine.config import Config
from rich.progress import track
from torch import Tensor

from bam_mm.checkpoint import load_weights
from bam_mm.errors import InputError
from bam_mm.evaluation import SimilarityHistograms, similarity_histograms
from bam_mm.figures.views import TrainingViews
from bam_mm.models.bam import BAM
from bam_mm.models.building import build_untrained
from bam_mm.models.siamese import features_of
from bam_mm.protocols.plots import COLOURS, plt, save_figure

KINDS = (
    ("other", "different classes", COLOURS[1]),
    ("same_class", "same class", COLOURS[2]),
    ("positive", "same image", COLOURS[0]),
)


@torch.no_grad()
def measure_similarities(
    config: Config,
    checkpoint: str | Path,
    *,
    count: int = 1000,
    branch: str = "teacher",
    feature: str = "projector",
    seed: int = 0,
    bins: int = 80,
) -> dict[str, SimilarityHistograms]:
    """Compute histograms of the similarities between two augmented views of training images.

    Args:
        config: Config of the pretraining; its training images must be in class folders.
        checkpoint: Checkpoint of that pretraining.
        count: Number of images, chosen at random; all if there are fewer.
        branch: Branch to take the features from, ``teacher`` or ``student``.
        feature: ``projector`` for the features that the loss compares, ``backbone`` for those that
            downstream tasks use.
        seed: Seed of images, views and random weights.
        bins: Number of bins between -1 and 1.

    Returns:
        Histograms of the same views for ``random weights`` and ``BAM <branch>``.

    Raises:
        InputError: If the images have no labels, the checkpoint does not fit, or there is only one
            view.
    """
    views = TrainingViews(config, seed=seed)
    indices = views.choose(min(count, len(views.dataset)), seed=seed)
    model = cast(BAM, build_untrained(config.model, seed=seed))
    batches = [
        views.batch(indices[start : start + 250])
        for start in track(range(0, len(indices), 250), description="views", transient=True)
    ]
    if any("gt_label" not in sample for _, samples in batches for sample in samples):
        raise InputError(
            f"{config.filename}: the training images have no labels, so pairs of one class cannot "
            "be found: set data_root=FOLDER to a folder with one subfolder per class"
        )
    labels = torch.cat([sample.gt_label for _, samples in batches for sample in samples])
    histograms = {}
    for name in ("random weights", f"BAM {branch}"):
        if name != "random weights":
            load_weights(model, checkpoint)
        pairs = [
            [_features(model, inputs[view], branch, feature) for view in (0, 1)]
            for inputs, _ in batches
        ]
        first, second = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        histograms[name] = similarity_histograms(first, second, labels, bins=bins)
    return histograms


def plot_similarities(histograms: Mapping[str, SimilarityHistograms], out: str | Path) -> Path:
    """Plot one panel per network, with the number of pairs on a logarithmic axis.

    Args:
        histograms: Histograms by title of the panel.
        out: File to write.

    Returns:
        ``out``.
    """
    figure, axes = plt.subplots(
        1,
        len(histograms),
        figsize=(4.3 * len(histograms), 3.2),
        sharex=True,
        sharey=True,
        constrained_layout=True,
        squeeze=False,
    )
    for axis, (name, histogram) in zip(axes[0], histograms.items(), strict=True):
        edges = histogram.edges.numpy()
        for kind, label, colour in KINDS:
            counts = getattr(histogram, kind).numpy()
            mean = np.average((edges[1:] + edges[:-1]) / 2, weights=np.maximum(counts, 1e-12))
            axis.stairs(counts, edges, color=colour, fill=True, alpha=0.25)
            axis.stairs(counts, edges, color=colour, label=f"{label} (mean {mean:.2f})")
        axis.set_yscale("log")
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("cosine similarity of two views", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7, loc="upper left")
    used = [np.flatnonzero(h.positive + h.same_class + h.other) for h in histograms.values()]
    lowest = min(edges[u.min()] for u in used)
    axes[0, 0].set_xlim(max(-1.0, lowest - 0.05), 1.02)
    top = max(int(getattr(h, kind).max()) for h in histograms.values() for kind, *_ in KINDS)
    axes[0, 0].set_ylim(0.7, top * 30)  # Leaves space for the legend.
    axes[0, 0].set_ylabel("pairs", fontsize=9)
    return save_figure(figure, out)


def _features(model: BAM, images: Tensor, branch: str, feature: str) -> Tensor:
    vectors = features_of(model.branch(branch), images)
    if feature == "backbone":
        return vectors
    if branch == "teacher":
        assert model.teacher is not None  # model.branch() has checked it.
        return model.teacher.neck(vectors).float()
    return model.neck(vectors).float()
