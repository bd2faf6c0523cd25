"""Features of a whole data set, every image exactly once, over one or many processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

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
    features, labels = extract_together(
        {"": backbone}, preprocess, loader, description=description, gather=gather
    )
    return features[""], labels


@torch.no_grad()
def extract_together(
    backbones: Mapping[str, nn.Module],
    preprocess: Callable[[dict, bool], dict],
    loader: DataLoader,
    *,
    description: str,
    gather: bool,
) -> tuple[dict[str, Tensor], Tensor]:
    """Run several backbones over a data set whose images are read once.

    Args:
        backbones: By name, as for :func:`extract_features`.
        preprocess: As there; the same for all.
        loader: As there.
        description: As there.
        gather: As there.

    Returns:
        Features (N, C) by name, and labels (N,), as there.

    Raises:
        InputError: As there.
    """
    were_training = {name: backbone.training for name, backbone in backbones.items()}
    for backbone in backbones.values():
        backbone.eval()
    features: dict[str, list[Tensor]] = {name: [] for name in backbones}
    labels, indices = [], []
    unread: list[tuple[Tensor, nn.Module, list]] = []
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
            before, unread = unread, []
            for name, backbone in backbones.items():
                features[name].append(features_of(backbone, data["inputs"]))
                finite = features[name][-1].isfinite().flatten(1).all(dim=1)
                unread.append((finite, backbone, samples))
            labels.append(torch.cat([sample.gt_label for sample in samples]))
            indices += [sample.sample_idx for sample in samples]
            # One batch behind: reading waits for the device, which has the next one in hand by now.
            _check_finite(before)
        _check_finite(unread)
    finally:
        for name, backbone in backbones.items():
            backbone.train(were_training[name])
    if not labels:
        raise InputError(
            f"{description}: the data set is smaller than the number of processes; use fewer "
            "processes or more images"
        )
    tables = {name: torch.cat(parts) for name, parts in features.items()}
    device = next(iter(tables.values())).device
    known, order = torch.cat(labels).to(device), torch.tensor(indices, device=device)
    if gather:
        tables = {name: gather_rows(table) for name, table in tables.items()}
        known, order = gather_rows(known), gather_rows(order)
        rows = order.argsort()
        tables, known = {name: table[rows] for name, table in tables.items()}, known[rows]
        seen, images = order[rows].tolist(), len(loader.dataset)
        if seen != list(range(images)):
            raise InputError(
                f"{description}: {len(seen)} rows of {len(set(seen))} images for a data set of "
                f"{images}: each image has to come once; read with on_error='stop' and the sampler "
                f"{EVALUATION_SAMPLER}"
            )
    return tables, known


def _check_finite(batch: list[tuple[Tensor, nn.Module, list]]) -> None:
    for finite, backbone, samples in batch:
        if not finite.all():
            bad = samples[int((~finite).nonzero()[0])]
            raise InputError(
                f"{type(backbone).__name__} gives a feature that is not finite for "
                f"{bad.get('img_path', 'an image')}: check the checkpoint and the preprocessor"
            )
