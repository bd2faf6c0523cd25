"""Features of a whole data set, every image exactly once, on one or more processes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sized
from contextlib import nullcontext
from itertools import chain
from typing import cast

import torch
from mmengine.dist import is_main_process
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.errors import InputError
from bam_mm.models.cost import ExtractionMeter
from bam_mm.models.evaluation_wrapper import evaluated
from bam_mm.models.feature_table import EVALUATION_SAMPLER as EVALUATION_SAMPLER  # exported
from bam_mm.models.feature_table import FeatureShard, FeatureTables
from bam_mm.models.host_memory import freed_memory_kept
from bam_mm.models.siamese import features_of
from bam_mm.precision import computing_in

SMALLEST_HALF = torch.finfo(torch.float16).tiny
"""Smallest number that float16 stores with all its digits, 6.1e-5."""


def extract_features(
    backbone: nn.Module,
    preprocess: Callable[[dict, bool], dict],
    loader: DataLoader,
    *,
    description: str,
    gather: bool,
    precision: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the features of a data set with one backbone.

    Args:
        backbone: Backbone in any mode. It runs in evaluation mode; its mode is restored afterwards.
        preprocess: Data preprocessor of the model.
        loader: Loader of a data set with labels; its sampler must be ``EVALUATION_SAMPLER``.
        description: Text of the progress bar, which appears on terminals only.
        gather: Whether every process gets all rows, in the order of the data set, instead of its
            own rows only.
        precision: Precision in which the backbone computes, see
            :func:`~bam_mm.precision.computing_in`.

    Returns:
        Features (N, C) float32 and labels (N,) int64, on the device of the model.

    Raises:
        InputError: If the data set has no labels or no images, if a feature is not finite, or if
            the rows do not hold each image of the data set exactly once.
    """
    features, labels = extract_together(
        {"": backbone},
        preprocess,
        loader,
        description=description,
        gather=gather,
        precision=precision,
    )
    return features[""], labels


def extract_together(
    backbones: Mapping[str, nn.Module],
    preprocess: Callable[[dict, bool], dict],
    loader: DataLoader,
    *,
    description: str,
    gather: bool,
    precision: str | None = None,
) -> tuple[dict[str, Tensor], Tensor]:
    """Compute the features of a data set with several backbones, reading each image once.

    Args:
        backbones: Backbones by name, in any mode. They run in evaluation mode; their modes are
            restored afterwards.
        preprocess: Data preprocessor that all backbones share.
        loader: Same as in :func:`extract_features`.
        description: Same as in :func:`extract_features`.
        gather: Same as in :func:`extract_features`.
        precision: Same as in :func:`extract_features`.

    Returns:
        Features (N, C) float32 by name of the backbone, and labels (N,) int64, on the device of
        the model.

    Raises:
        InputError: Same as in :func:`extract_features`.
    """
    found = extract_shards(
        backbones, preprocess, loader, description=description, whole=gather, precision=precision
    )
    _, rows, labels = next(iter(found.values()))
    return {name: shard.features for name, shard in found.items()}, labels[rows]


@torch.no_grad()
def extract_shards(
    backbones: Mapping[str, nn.Module],
    preprocess: Callable[[dict, bool], dict],
    loader: DataLoader,
    *,
    description: str,
    whole: bool,
    dtype: torch.dtype = torch.float32,
    precision: str | None = None,
    meter: ExtractionMeter | None = None,
) -> dict[str, FeatureShard]:
    """Compute the features of a data set, of which each process may keep its own rows only.

    A table is allocated once and filled in place: the memory for it is that of the rows that the
    process holds in the end, whatever the number of processes.

    Args:
        backbones: Same as in :func:`extract_together`.
        preprocess: Same as in :func:`extract_together`.
        loader: Same as in :func:`extract_features`.
        description: Same as in :func:`extract_features`.
        whole: Whether every process gets all rows, instead of every P-th row on P processes.
        dtype: Type in which features are stored, float32 or float16; computing does not depend on
            it.
        precision: Same as in :func:`extract_features`.
        meter: Meter that measures the extraction; None measures nothing.

    Returns:
        The rows of this process by name of the backbone, on the device of the model.

    Raises:
        InputError: Same as in :func:`extract_features`, or if a feature is too large or too small
            for ``dtype``.
    """
    images = len(cast(Sized, loader.dataset))
    if not images:
        raise InputError(f"{description}: the data set has no images")
    tables = FeatureTables(backbones, images, whole=whole, dtype=dtype)
    unread: list[tuple[Tensor, nn.Module, list]] = []
    device = _device(backbones)
    quiet = not (is_main_process() and sys.stdout.isatty())
    measured = nullcontext() if meter is None else meter.extracting(device)
    with evaluated(backbones.values()), freed_memory_kept(device), measured:
        for data in track(loader, description=description, disable=quiet, transient=True):
            data = preprocess(data, False)
            samples, device = data["data_samples"], data["inputs"].device
            if any("gt_label" not in sample for sample in samples):
                raise InputError(
                    f"{samples[0].get('img_path', 'the data set')} has no label: this evaluation "
                    "needs labels; sort the images into class folders"
                )
            before, unread = unread, []
            batch = {}
            for name, backbone in backbones.items():
                timed = nullcontext() if meter is None else meter.batch(len(samples), device)
                with timed, computing_in(precision, device):
                    feature = features_of(backbone, data["inputs"])
                batch[name] = feature.to(dtype)
                unread.append((_stored(feature, batch[name]), backbone, samples))
            labels = torch.cat([sample.gt_label for sample in samples])
            tables.add(batch, labels, [sample.sample_idx for sample in samples])
            # One batch late: reading waits for the device, which already has the next batch to do.
            _check_stored(before, dtype)
        _check_stored(unread, dtype)
    return tables.finish(description, device)


def _device(backbones: Mapping[str, nn.Module]) -> torch.device:
    """Return the device of the backbones, for a process that has no images."""
    tensors = chain.from_iterable(backbone.parameters() for backbone in backbones.values())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def _stored(feature: Tensor, stored: Tensor) -> Tensor:
    """Return for each row whether it is finite and kept by a conversion."""
    kept = stored.isfinite().flatten(1).all(dim=1)
    if stored.dtype == torch.float16:
        # Below the smallest normal number, digits are lost, down to all of them.
        largest = feature.abs().flatten(1).amax(dim=1)
        kept &= (largest >= SMALLEST_HALF) | (largest == 0)
    return kept


def _check_stored(batch: list[tuple[Tensor, nn.Module, list]], dtype: torch.dtype) -> None:
    for kept, backbone, samples in batch:
        if not kept.all():
            bad = samples[int((~kept).nonzero()[0])]
            message = (
                f"{type(backbone).__name__} returns a feature that is not finite for "
                f"{bad.get('img_path', 'an image')}: check the checkpoint and the preprocessor"
            )
            if dtype == torch.float16:
                message = (
                    f"{type(backbone).__name__} returns a feature for "
                    f"{bad.get('img_path', 'an image')} that float16 cannot hold (not finite, "
                    "above 65504, or all of it below 6e-5): set feature_dtype='float32'"
                )
            raise InputError(message)
