"""Random states that go on where they were when a run is resumed."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.hooks import Hook

from bam_mm.data.seeding import cpu_random_states, restore_cpu_random_states
from bam_mm.distributed import gather_objects, rank, world_size
from bam_mm.registry import HOOKS

KEY = "random_states"
"""Under which key of a checkpoint the states lie, one entry a process."""


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Make training a function of its seed: interrupted or not, watched or not.

    The random states (Python, NumPy, torch, GPU) of every process are noted after an epoch's last
    iteration, written into the checkpoint, and put back at the next epoch's first: in the run that
    goes on as in the one that resumes. What draws in between (a validation, the online kNN, loaders
    that start) so has no part in the training. The data set gets seed and epoch to seed each sample
    by (:func:`~bam_mm.data.seeding.seeded_sample`).

    Checkpoints made within an epoch (``by_epoch=False``) resume too, but not bit for bit: mmengine
    begins the epoch's data again.
    """

    # Before CheckpointHook (90) at an epoch's end.
    priority = 85

    def __init__(self) -> None:
        self.mine: dict | None = None
        self.all: list[dict] | None = None

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take this process's states, if the run is resumed."""
        if not runner._resume or KEY not in checkpoint:
            return
        states = checkpoint[KEY]
        if len(states) == world_size():
            self.mine = states[rank()]
        else:
            runner.logger.warning(
                f"the checkpoint holds the random states of {len(states)} process(es), this run "
                f"has {world_size()}: it goes on with other random draws than before"
            )

    def before_train(self, runner) -> None:
        """Give a fresh run, and each process of it, draws of its own."""
        if self.mine is None:
            words = np.random.SeedSequence([runner.seed, runner.epoch, rank()]).generate_state(3)
            random.seed(int(words[0]))
            np.random.seed(words[1])
            torch.manual_seed(int(words[2]))
            self.mine = _states()

    def before_train_epoch(self, runner) -> None:
        """Tell the data set the epoch."""
        dataset = runner.train_dataloader.dataset
        if hasattr(dataset, "set_epoch"):
            dataset.set_epoch(runner.seed, runner.epoch)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Put the states back at the epoch's first iteration, when its loader has started."""
        if batch_idx == 0:
            restore_cpu_random_states(self.mine)
            if self.mine["gpu"] is not None and torch.cuda.is_available():
                torch.cuda.set_rng_state(self.mine["gpu"].cpu())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Note the states after the epoch's last iteration."""
        if self.end_of_epoch(runner.train_dataloader, batch_idx):
            self.mine = _states()

    def after_train_epoch(self, runner) -> None:
        """Collect the states of all processes for the checkpoint."""
        self.all = gather_objects(self.mine)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add them."""
        if self.all is not None:
            checkpoint[KEY] = self.all


def _states() -> dict:
    gpu = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {**cpu_random_states(), "gpu": gpu}
