"""Batches of one image, and the exceptions that they cause in torch."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch import nn
from torch.utils.data import DataLoader

from bam_mm.errors import InputError
from bam_mm.launch.runner import user_errors_unwrapped
from bam_mm.launch.small_batches import check_smallest_batch, smallest_batch


def loader(images, batch, *, drop_last=False, sampler=None):
    data = list(range(images))
    sampler = sampler(data) if sampler else DefaultSampler(data)
    return DataLoader(data, batch_size=batch, sampler=sampler, drop_last=drop_last)


def shares(images, processes, *, round_up=True):
    """Loader of the first of several processes."""

    def sampler(data):
        made = DefaultSampler(data, round_up=round_up)
        made.world_size, made.num_samples = processes, -(-len(data) // processes)
        return made

    return sampler


@pytest.mark.parametrize(
    ("images", "batch", "options", "processes", "smallest"),
    [
        (7, 6, {}, 1, 1),
        (7, 6, {"drop_last": True}, 1, 6),
        (12, 6, {}, 1, 6),
        (7, 1, {}, 1, 1),
        (5, 8, {}, 1, 5),
        (9, 2, {"sampler": shares(9, 2)}, 2, 1),  # 5 each: 2, 2, 1
        (9, 4, {"sampler": shares(9, 2, round_up=False)}, 2, 1),  # 5 and 4: 4, 1 and 4
        (8, 4, {"sampler": shares(8, 2, round_up=False)}, 2, 4),
        (7, 6, {"sampler": InfiniteSampler}, 1, 6),
    ],
)
def test_the_smallest_batch(images, batch, options, processes, smallest):
    assert smallest_batch(loader(images, batch, **options), processes) == smallest


class Frozen(nn.Sequential):
    def train(self, mode=True):
        return super().train(False)


@pytest.mark.parametrize(
    ("images", "batch", "model", "message"),
    [
        (7, 6, nn.BatchNorm1d(2), r"a single image \(7 images in batches of 6 on 1 .*drop_last"),
        (7, 1, nn.BatchNorm1d(2), "batch_size=1: BatchNorm needs two images; set it to at least 2"),
        (8, 6, nn.BatchNorm1d(2), None),
        (7, 6, nn.LayerNorm(2), None),
        (7, 6, nn.BatchNorm2d(2), None),
        (7, 6, Frozen(nn.BatchNorm1d(2)), None),
    ],
)
def test_batches_that_a_model_cannot_train_on(images, batch, model, message):
    runner = SimpleNamespace(
        train_loop=SimpleNamespace(dataloader=loader(images, batch)), model=model, world_size=1
    )
    if message is None:
        check_smallest_batch(runner)
        return
    with pytest.raises(InputError, match=message):
        check_smallest_batch(runner)


def test_errors_of_the_libraries_are_translated():
    message = r"a batch has a single image: set .*drop_last=True"
    with pytest.raises(InputError, match=message), user_errors_unwrapped():
        nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1))
    with pytest.raises(ValueError, match="another"), user_errors_unwrapped():
        raise ValueError("another fault")
