"""Random states that continue when a run is resumed."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop
from torch.utils.data import DataLoader

from bam_mm.data.samplers import visits_differ
from bam_mm.data.seeding import cpu_random_states, restore_cpu_random_states
from bam_mm.distributed import gather_objects, rank, world_size
from bam_mm.registry import HOOKS

KEY = "random_states"
"""Key of a checkpoint with the random states, one entry per process."""


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Make training depend on its seed only, with or without interruptions and evaluation.

    The hook records the random states (Python, NumPy, torch, GPU) of every process after the last
    iteration of an epoch, and saves them in the checkpoint. It restores them at the first iteration
    of the next epoch, both in an uninterrupted run and in a resumed one. Random draws in between
    (validation, online kNN, starting loaders) therefore do not affect the training. The data set
    gets the seed and the epoch, from which it seeds each visit of a sample
    (:func:`~bam_mm.data.seeding.seeded_sample`).

    Some data sets are not seeded: those of the libraries, wrappers (mmengine's ``RepeatDataset``,
    ``ClassBalancedDataset`` and ``ConcatDataset``, mmpretrain's ``KFoldDataset``), and every data
    set whose sampler may visit an image again with the same epoch, index and number
    (:func:`~bam_mm.data.samplers.visits_differ`; a warning names it). Their draws are those of the
    loader's workers: the visits of an image differ, but depend on the number of workers, and a
    resumed run draws new ones.

    Runs can also be resumed from checkpoints within an epoch (``by_epoch=False``), but not bit for
    bit, because mmengine starts the data of that epoch from the beginning.
    """

    # Before CheckpointHook (90) at the end of an epoch.
    priority = 85

    def __init__(self) -> None:
        self.mine: dict | None = None
        self.all: list[dict] | None = None
        self.warned = False

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Store the random states of this process, if the run is resumed."""
        if not runner._resume or KEY not in checkpoint:
            return
        states = checkpoint[KEY]
        if len(states) == world_size():
            self.mine = states[rank()]
        else:
            runner.logger.warning(
                f"the checkpoint holds the random states of {len(states)} process(es), this run "
                f"has {world_size()}: it continues with different random draws"
            )

    def before_train(self, runner) -> None:
        """Seed each process of a new run differently."""
        if self.mine is None:
            words = np.random.SeedSequence([runner.seed, runner.epoch, rank()]).generate_state(3)
            random.seed(int(words[0]))
            np.random.seed(words[1])
            torch.manual_seed(int(words[2]))
            self.mine = _states()

    def before_train_epoch(self, runner) -> None:
        """Pass the seed and the epoch to the data set, unless visits would repeat their draws."""
        loader = runner.train_dataloader
        if not hasattr(loader.dataset, "set_epoch"):
            return
        by_epoch = not isinstance(runner.train_loop, IterBasedTrainLoop)
        if visits_differ(loader, by_epoch=by_epoch):
            loader.dataset.set_epoch(runner.seed, runner.epoch)
        elif not self.warned:
            self.warned = True
            runner.logger.warning(_unseeded(loader, by_epoch))

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Restore the random states at the first iteration of an epoch, once its loader runs."""
        if batch_idx == 0:
            assert self.mine is not None  # Set in before_train.
            restore_cpu_random_states(self.mine)
            if self.mine["gpu"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(self.mine["gpu"].cpu())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Record the random states after the last iteration of an epoch."""
        if self.end_of_epoch(runner.train_dataloader, batch_idx):
            self.mine = _states()

    def after_train_epoch(self, runner) -> None:
        """Gather the random states of all processes for the checkpoint."""
        self.all = gather_objects(self.mine)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the random states of all processes in the checkpoint."""
        if self.all is not None:
            checkpoint[KEY] = self.all


def _unseeded(loader: DataLoader, by_epoch: bool) -> str:
    sampler = type(getattr(loader.batch_sampler, "sampler", loader.sampler)).__name__
    ours = "RepeatAugSampler" if by_epoch else "InfiniteSampler"
    return (
        f"train_dataloader.sampler {sampler} may visit an image more than once in "
        f"{'an epoch' if by_epoch else 'the run'} without numbering the visits, so random draws "
        "depend on the number of workers and a resumed run draws new ones. Use a sampler that "
        f"numbers them, such as bam_mm.{ours}"
    )


def _states() -> dict:
    gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {**cpu_random_states(), "gpu": gpu}
