"""A sample's draws depend on the seed, the epoch and its index, not on the process."""

import random

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bam_mm.data.seeding import (
    EpochClock,
    cpu_random_states,
    restore_cpu_random_states,
    seeded_sample,
)


class Draws(Dataset):
    """Data set whose items are their index and one draw of each generator."""

    def __init__(self):
        self.clock = EpochClock()

    def __len__(self):
        return 12

    def __getitem__(self, index):
        with seeded_sample(self.clock, index):
            return torch.tensor([index, random.random(), np.random.random(), torch.rand(()).item()])


def epochs(dataset, workers, seed=3, persistent=False):
    loader = DataLoader(
        dataset,
        batch_size=4,
        shuffle=True,
        num_workers=workers,
        persistent_workers=persistent,
        multiprocessing_context="fork" if workers else None,
    )
    found = []
    for epoch in range(3):
        dataset.clock.set(seed, epoch)
        rows = torch.cat(list(loader))
        found.append(rows[rows[:, 0].argsort()])
    return found


def test_draws_do_not_depend_on_workers_or_order():
    none, two, kept = (
        epochs(Draws(), workers, persistent=persistent)
        for workers, persistent in ((0, False), (2, False), (2, True))
    )
    for a, b, c in zip(none, two, kept, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


def test_all_samples_epochs_seeds_and_generators_draw_differently():
    everything = [*epochs(Draws(), 0), *epochs(Draws(), 0, seed=4)]
    values = torch.cat([e[:, 1:].flatten() for e in everything])
    assert len(values.unique()) == len(values) == 6 * 12 * 3


def test_loading_in_the_main_process_does_not_change_its_generators():
    dataset = Draws()
    dataset.clock.set(0, 0)
    before = cpu_random_states()
    dataset[5]
    after = cpu_random_states()
    assert before["python"] == after["python"]
    assert torch.equal(before["numpy"][0], after["numpy"][0])
    assert before["numpy"][1:] == after["numpy"][1:]
    assert torch.equal(before["torch"], after["torch"])


def test_without_seed_and_epoch_nothing_is_seeded():
    dataset = Draws()
    assert dataset.clock.read() is None
    assert not torch.equal(dataset[5], dataset[5])


def test_states_are_restored(tmp_path):
    draw = lambda: (random.gauss(0, 1), np.random.standard_normal(), torch.randn(()).item())  # noqa: E731
    random.gauss(0, 1), np.random.standard_normal()  # Both store a second Gaussian for later.
    states = cpu_random_states()
    torch.save(states, tmp_path / "states.pth")
    first = draw()
    # Through a file, because checkpoints hold these states and are read without unpickling.
    restore_cpu_random_states(torch.load(tmp_path / "states.pth", weights_only=True))
    assert draw() == first
    assert draw() != first
