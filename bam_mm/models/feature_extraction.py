"""Features of a whole data set, every image exactly once, on one or more processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sized
from typing import cast

import torch
from mmengine.dist import is_main_process
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.distributed import gather_rows
from bam_mm.errors import InputError
from bam_mm.models.bam import features_of

EVALUATION_SAMPLER = dict(type="DefaultSampler", shuffle=False, round_up=False)
"""Sampler that neither drops nor repeats an image: each of P processes takes every P-th one."""


def extract_features(
    backbone: nn.Module,
    preprocess: Callable[[dict, bool], dict],
    loader: DataLoader,
    *,
    description: str,
    gather: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the features of a data set with one backbone.

    Args:
        backbone: Backbone in any mode. It runs in evaluation mode; its mode is restored afterwards.
        preprocess: Data preprocessor of the model.
        loader: Loader of a data set with labels; its sampler must be ``EVALUATION_SAMPLER``.
        description: Text of the progress bar, which appears on terminals only.
        gather: Whether every process gets all rows, in the order of the data set, instead of its
            own rows only.

    Returns:
        Features (N, C) float32 and labels (N,) int64, on the device of the model.

    Raises:
        InputError: If the data set has no labels or no images, if a feature is not finite, or if
            the gathered rows do not hold each image of the data set exactly once.
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
    """Compute the features of a data set with several backbones, reading each image once.

    Args:
        backbones: Backbones by name, in any mode. They run in evaluation mode; their modes are
            restored afterwards.
        preprocess: Data preprocessor that all backbones share.
        loader: Same as in :func:`extract_features`.
        description: Same as in :func:`extract_features`.
        gather: Same as in :func:`extract_features`.

    Returns:
        Features (N, C) float32 by name of the backbone, and labels (N,) int64, on the device of
        the model.

    Raises:
        InputError: Same as in :func:`extract_features`.
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
                    "needs labels; sort the images into class folders"
                )
            before, unread = unread, []
            for name, backbone in backbones.items():
                features[name].append(features_of(backbone, data["inputs"]))
                finite = features[name][-1].isfinite().flatten(1).all(dim=1)
                unread.append((finite, backbone, samples))
            labels.append(torch.cat([sample.gt_label for sample in samples]))
            indices += [sample.sample_idx for sample in samples]
            # One batch late: reading waits for the device, which already has the next batch to do.
            _check_finite(before)
        _check_finite(unread)
    finally:
        for name, backbone in backbones.items():
            backbone.train(were_training[name])
    if not labels:
        raise InputError(
            f"{description}: the data set has fewer images than there are processes; use fewer "
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
        seen, images = order[rows].tolist(), len(cast(Sized, loader.dataset))
        if seen != list(range(images)):
            raise InputError(
                f"{description}: {len(seen)} rows of {len(set(seen))} images for a data set of "
                f"{images}, but each image must occur once; set on_error='stop' in LoadImage and "
                f"the sampler {EVALUATION_SAMPLER}"
            )
    return tables, known


def _check_finite(batch: list[tuple[Tensor, nn.Module, list]]) -> None:
    for finite, backbone, samples in batch:
        if not finite.all():
            bad = samples[int((~finite).nonzero()[0])]
            raise InputError(
                f"{type(backbone).__name__} returns a feature that is not finite for "
                f"{bad.get('img_path', 'an image')}: check the checkpoint and the preprocessor"
            )
