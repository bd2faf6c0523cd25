"""Features of a whole data set, every image exactly once, over one or many processes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from mmengine.dist import is_main_process
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.distributed import gather_rows
from bam_mm.errors import InputError
from bam_mm.models.bam import features_of

EVALUATION_SAMPLER = dict(type="DefaultSampler", shuffle=False, round_up=False)
"""Neither drops nor repeats a row: each process takes every P-th image."""


@torch.no_grad()
def extract_features(
    backbone: nn.Module,
    preprocess: Callable[[dict, bool], dict],
    loader: DataLoader,
    *,
    description: str,
    gather: bool,
) -> tuple[Tensor, Tensor]:
    """Run a backbone over a data set.

    Args:
        backbone: In any mode; it is in evaluation mode here and put back afterwards.
        preprocess: The model's data preprocessor.
        loader: Of a data set with labels; its sampler must be ``EVALUATION_SAMPLER``.
        description: For the progress bar (shown on a terminal only).
        gather: Whether every process gets all rows, in the data set's order; else its own.

    Returns:
        Features (N, C) float32 and labels (N,) int64, on the model's device.

    Raises:
        InputError: If the data set has no labels, or no images; if a feature is not finite; if
            gathered rows are not each image of the data set once.
    """
    was_training = backbone.training
    backbone.eval()
    features, labels, indices = [], [], []
    quiet = not (is_main_process() and sys.stdout.isatty())
    try:
        for data in track(loader, description=description, disable=quiet, transient=True):
            data = preprocess(data, False)
            samples = data["data_samples"]
            if any("gt_label" not in sample for sample in samples):
                raise InputError(
                    f"{samples[0].get('img_path', 'the data set')} has no label: this evaluation "
                    "needs images in class folders"
                )
            features.append(features_of(backbone, data["inputs"]))
            finite = features[-1].isfinite().flatten(1).all(dim=1)
            if not finite.all():
                bad = samples[int((~finite).nonzero()[0])]
                raise InputError(
                    f"{type(backbone).__name__} gives a feature that is not finite for "
                    f"{bad.get('img_path', 'an image')}: check the checkpoint and the preprocessor"
                )
            labels.append(torch.cat([s.gt_label for s in samples]).to(features[-1].device))
            indices.append(
                torch.tensor([s.sample_idx for s in samples], device=features[-1].device)
            )
    finally:
        backbone.train(was_training)
    if not features:
        raise InputError(
            f"{description}: the data set is smaller than the number of processes; use fewer "
            "processes or more images"
        )
    rows = [torch.cat(features), torch.cat(labels), torch.cat(indices)]
    if gather:
        rows = [gather_rows(row) for row in rows]
        order = rows[2].argsort()
        rows = [row[order] for row in rows]
        seen, images = rows[2].tolist(), len(loader.dataset)
        if seen != list(range(images)):
            raise InputError(
                f"{description}: {len(seen)} rows of {len(set(seen))} images for a data set of "
                f"{images}: each image has to come once; read with on_error='stop' and the sampler "
                f"{EVALUATION_SAMPLER}"
            )
    return rows[0], rows[1]
