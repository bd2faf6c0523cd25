"""Batches of a single image, which BatchNorm and BAM cannot train on."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, cast

from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from bam_mm.data.checks.labels import batch_size_of
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.models.siamese import SiameseModel


def check_smallest_batch(runner: Runner) -> None:
    """Check that no batch of the training has a single image if the model needs two.

    torch would stop at the last batch of the first epoch instead. All processes decide in the same
    way.

    Args:
        runner: Runner before the training; its training loop is built if it is not yet.

    Raises:
        InputError: If a batch has one image, and the model has BatchNorm on vectors or is BAM.
    """
    loader = cast(DataLoader, runner.train_loop.dataloader)
    reason = _needs_two(unwrap_model(runner.model))
    if reason is None or smallest_batch(loader, runner.world_size) >= 2:
        return
    batch = batch_size_of(loader)
    if batch < 2:
        raise InputError(
            f"train_dataloader.batch_size={batch}: {reason}; set it to at least 2 with "
            "--cfg-options train_dataloader.batch_size=N"
        )
    raise InputError(
        f"the last batch of an epoch has a single image ({len(cast(Sized, loader.dataset)):,} "
        f"images in batches of {batch} on {runner.world_size} process"
        f"{'es' * (runner.world_size > 1)}), but {reason}; set --cfg-options "
        "train_dataloader.drop_last=True, or another train_dataloader.batch_size"
    )


def smallest_batch(loader: DataLoader, processes: int = 1) -> int:
    """Compute the number of images of the smallest batch of an epoch, over all processes.

    Args:
        loader: Loader of the training images of this process.
        processes: Number of processes.
    """
    batch = batch_size_of(loader)
    if getattr(loader.batch_sampler, "drop_last", loader.drop_last):
        return batch
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(sampler, InfiniteSampler):
        return batch
    shares = {len(cast(Sized, sampler))}
    if isinstance(sampler, DefaultSampler) and not sampler.round_up:
        images = len(cast(Sized, loader.dataset))
        shares = {images // processes, -(-images // processes)}
    return min(share % batch or min(share, batch) for share in shares)


def _needs_two(model: Any) -> str | None:
    """Return why a model cannot train on a single image, None if it can."""
    if isinstance(model, SiameseModel) and model.compares_images:
        return f"{type(model).__name__} compares every image with the others of the batch"
    if not isinstance(model, nn.Module):  # FlexibleRunner builds it when the training starts.
        return None
    model.train()
    norms = (m for m in model.modules() if isinstance(m, nn.BatchNorm1d))
    return "BatchNorm needs two images" if any(norm.training for norm in norms) else None
