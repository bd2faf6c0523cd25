"""Samplers that visit an image more than once, with other random draws in each visit.

The draws of a sample follow from its index (:func:`~bam_mm.data.seeding.seeded_sample`), so two
visits of an image in one epoch would return the same pixels. The samplers here yield
:class:`~bam_mm.data.seeding.Visit`, an index with the number of the visit.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmengine.dataset import DefaultSampler
from mmengine.dataset import InfiniteSampler as _InfiniteSampler
from mmpretrain.datasets import RepeatAugSampler as _RepeatAugSampler
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from bam_mm.data.seeding import Visit
from bam_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class RepeatAugSampler(_RepeatAugSampler):
    """Sampler of repeated augmentation, whose copies of an image differ.

    The order of the images, and the arguments, are those of mmpretrain's ``RepeatAugSampler``::

        order = permutation of the N images, each num_repeats times: a a a b b b ...
        process r of P visits order[r], order[r + P], order[r + 2 P], ... (ceil(N / P) of them)

    An epoch therefore has as many steps as without repeats, and visits a part (1 / ``num_repeats``)
    of the images ``num_repeats`` times each. Copy 0, 1, 2, ... of an image has its own random
    draws, which depend on neither the number of processes nor on which of them loads it; copy 0 has
    the draws of a run without repeats.
    """

    numbers_visits = "epoch"

    def __iter__(self) -> Iterator[int]:
        """Iterate over the images of this process, as visits whose number is that of the copy."""
        everything = len(self.dataset) * self.num_repeats
        for step, index in enumerate(super().__iter__()):
            place = step * self.world_size + self.rank
            # Places after the end repeat the beginning, so that all processes have equally many.
            rounds, place = divmod(place, everything)
            yield Visit(index, rounds * self.num_repeats + place % self.num_repeats)


@DATA_SAMPLERS.register_module()
class InfiniteSampler(_InfiniteSampler):
    """Endless sampler of iteration-based runs, whose passes over the data set differ.

    The order of the images, the arguments and ``skip``, with which a resumed run continues, are
    those of mmengine's ``InfiniteSampler``. The number of a visit is that of the pass over the data
    set, counted over all processes.
    """

    numbers_visits = "run"

    def _infinite_indices(self) -> Iterator[int]:
        for place, index in enumerate(super()._infinite_indices()):
            yield Visit(index, place // self.size)


def visits_differ(loader: DataLoader, *, by_epoch: bool) -> bool:
    """Return whether no two visits have the same epoch, index and number.

    A sampler of your own counts if it visits each image once in an epoch and inherits from
    mmengine's ``DefaultSampler``, or if it yields :class:`~bam_mm.data.seeding.Visit` and has an
    attribute ``numbers_visits``: "run" if the numbers never repeat, "epoch" if they start again in
    each epoch. (To make all processes visit equally many images, ``DefaultSampler`` repeats up to
    P - 1 of them at the end of an epoch with P processes, with the same draws.)

    Args:
        loader: Loader of the training images.
        by_epoch: Whether the training loop counts epochs. An iteration-based run is a single epoch
            with several passes over the images.
    """
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    numbered = getattr(sampler, "numbers_visits", None)
    if numbered is not None or not by_epoch:
        return numbered == "run" or (numbered == "epoch" and by_epoch)
    if isinstance(sampler, RandomSampler):
        return not sampler.replacement
    return isinstance(sampler, DefaultSampler | DistributedSampler | SequentialSampler)
