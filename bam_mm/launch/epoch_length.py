"""Number of steps of an epoch and of the images that it leaves out, reported before a training."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import cast

from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from bam_mm.data.checks.labels import batch_size_of, check_iterations

FEW_STEPS = 10
"""Number of steps of an epoch below which a warning is logged."""


@dataclass(frozen=True)
class Epoch:
    """Length of an epoch over all processes.

    Attributes:
        images: Number N of images in the data set.
        batch: Number of images of one process in an iteration.
        processes: Number of processes.
        accumulated: Number of iterations whose gradients are added up to one step.
        iterations: Number of iterations.
        visited: Number of different images that are visited; None if the sampler is not known.
        visits: Number of visits.
    """

    images: int
    batch: int
    processes: int
    accumulated: int
    iterations: int
    visited: int | None
    visits: int

    @property
    def steps(self) -> int:
        """Number of steps of the optimizer."""
        return self.iterations // self.accumulated

    def describe(self) -> str:
        """Return one line about the steps, the batch, and images that are left out or repeated."""
        batch = self.batch * self.processes * self.accumulated
        text = (
            f"an epoch has {self.steps:,} step{'s' * (self.steps != 1)} of {batch:,} images "
            f"({self.batch} x {self.processes} process{'es' * (self.processes > 1)}"
            f"{f' x {self.accumulated} iterations' if self.accumulated > 1 else ''})"
        )
        if self.visited is None:
            return f"{text}: {self.visits:,} visits of {self.images:,} images"
        return (
            f"{text}: it leaves out {self.images - self.visited:,} of {self.images:,} images, and "
            f"{self.visits - self.visited:,} of its {self.visits:,} visits repeat an image"
        )


def report_epoch(runner: Runner) -> None:
    """Log how long an epoch is, and warn if it has fewer than ``FEW_STEPS`` steps.

    Iteration-based runs have no epochs, so nothing is logged.

    Args:
        runner: Runner before the training; its training loop is built if it is not yet.

    Raises:
        InputError: If an epoch has no iteration.
    """
    loop = runner.train_loop
    if not isinstance(loop, EpochBasedTrainLoop):
        return
    check_iterations(loop.dataloader)
    accumulated = (runner.cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    epoch = measure_epoch(loop.dataloader, runner.world_size, accumulated)
    runner.logger.info(epoch.describe())
    if epoch.steps < FEW_STEPS:
        runner.logger.warning(_few_steps(epoch, runner.cfg))


def measure_epoch(loader: DataLoader, processes: int = 1, accumulated: int = 1) -> Epoch:
    """Compute the length of an epoch.

    Args:
        loader: Loader of the training images of this process.
        processes: Number of processes.
        accumulated: Number of iterations whose gradients are added up to one step.
    """
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    images, batch, iterations = len(cast(Sized, loader.dataset)), batch_size_of(loader), len(loader)
    visits = processes * len(cast(Sized, sampler))
    if isinstance(sampler, DefaultSampler) and not sampler.round_up:
        visits = images  # Processes have different shares.
    if getattr(loader.batch_sampler, "drop_last", loader.drop_last):
        visits = min(visits, processes * iterations * batch)
    repeats = getattr(sampler, "num_repeats", 1)
    known = isinstance(sampler, DefaultSampler) or hasattr(sampler, "num_repeats")
    # The processes share one order of the images, each num_repeats times, from its beginning.
    visited = min(images, -(-visits // repeats)) if known else None
    return Epoch(images, batch, processes, accumulated, iterations, visited, visits)


def _few_steps(epoch: Epoch, config: Config) -> str:
    found = (
        f"train_dataloader.batch_size={epoch.batch} on {epoch.processes} process"
        f"{'es' * (epoch.processes > 1)} leaves {epoch.steps} step{'s' * (epoch.steps != 1)} in an "
        f"epoch of {epoch.images:,} images, fewer than {FEW_STEPS}"
    )
    share = epoch.images // (FEW_STEPS * epoch.processes * epoch.accumulated)
    # A power of two; BAM and BatchNorm need two images.
    smaller = 2 ** max(share.bit_length() - 1, 1)
    if smaller >= epoch.batch:
        return f"{found}: train on more images or fewer processes, unless this is intended"
    scaled = config.get("auto_scale_lr") or {}
    if scaled.get("enable"):
        rate = "--auto-scale-lr lowers the learning rate accordingly"
    elif scaled.get("base_batch_size"):
        rate = "lower the learning rate accordingly with --auto-scale-lr"
    else:
        rate = f"multiply the learning rate by {smaller / epoch.batch:g}"
    return (
        f"{found}: set --cfg-options train_dataloader.batch_size={smaller} and {rate}, unless this "
        "is intended"
    )
