"""Visits of an image in one epoch have different pixels, the same on any workers and processes."""

import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch
from mmengine.dataset import InfiniteSampler as PlainInfiniteSampler
from mmengine.dataset import worker_init_fn
from mmengine.registry import init_default_scope
from mmpretrain.datasets import RepeatAugSampler as PlainRepeatAugSampler
from PIL import Image
from torch.utils.data import DataLoader

from bam_mm import ImageFolder, InfiniteSampler, RepeatAugSampler
from bam_mm.data.seeding import Visit

COUNT, REPEATS, SEED = 12, 3, 5
PIPELINE = [
    dict(type="bam_mm.LoadImage"),
    dict(type="RandomResizedCrop", scale=8, backend="pillow"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs", meta_keys=("sample_idx",)),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for number in range(COUNT):
        path = folder / f"train/{'ab'[number % 2]}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (24, 24, 3), np.uint8)).save(path)
    return folder


def images(root):
    init_default_scope("mmpretrain")
    return ImageFolder(str(root), pipeline=PIPELINE)


def sampler_of(kind, dataset, monkeypatch, rank=0, world=1, **options):
    for module in ("mmpretrain.datasets.samplers.repeat_aug", "mmengine.dataset.sampler"):
        monkeypatch.setattr(f"{module}.get_dist_info", lambda: (rank, world))
    return kind(dataset, seed=SEED, **options)


def load(dataset, sampler, epoch, workers=0, loader=None):
    """Return the pixels of one epoch as a list of (index, pixels) in the order of the visits."""
    dataset.set_epoch(SEED, epoch)
    sampler.set_epoch(epoch)
    loader = loader or loader_of(dataset, sampler, workers)
    return [
        (sample.sample_idx, pixels.numpy().tobytes())
        for batch in loader
        for pixels, sample in zip(batch["inputs"], batch["data_samples"], strict=True)
    ]


def loader_of(dataset, sampler, workers):
    return DataLoader(
        dataset,
        batch_size=4,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=lambda i: worker_init_fn(i, workers, 0, SEED),
        collate_fn=lambda parts: {k: [part[k] for part in parts] for k in parts[0]},
    )


def by_image(visits):
    found = defaultdict(list)
    for index, pixels in visits:
        found[index].append(pixels)
    return found


def test_the_copies_of_an_image_differ_and_the_first_is_that_of_a_run_without_repeats(
    root, monkeypatch
):
    dataset = images(root)
    sampler = sampler_of(RepeatAugSampler, dataset, monkeypatch, num_repeats=REPEATS)
    copies = by_image(load(dataset, sampler, epoch=2))
    assert sorted(map(len, copies.values())) == [REPEATS] * (COUNT // REPEATS)
    for index, pixels in copies.items():
        assert len(set(pixels)) == REPEATS
        assert pixels[0] == dataset[index]["inputs"].numpy().tobytes()
        # The number of the copy is a word of the seed, not an offset of another one.
        dataset.set_epoch(SEED, 3)
        assert dataset[index]["inputs"].numpy().tobytes() not in pixels
        dataset.set_epoch(SEED, 2)


def test_copies_depend_on_neither_workers_nor_earlier_epochs(root, monkeypatch):
    sets = [images(root) for _ in range(3)]
    samplers = [
        sampler_of(RepeatAugSampler, data, monkeypatch, num_repeats=REPEATS) for data in sets
    ]
    kept = loader_of(sets[1], samplers[1], workers=2)
    for epoch in range(2):
        none = load(sets[0], samplers[0], epoch)
        two = load(sets[1], samplers[1], epoch, loader=kept)
        assert none == two and len(none) == COUNT
    # A resumed run starts its second epoch with new workers.
    assert load(sets[2], samplers[2], 1, workers=1) == none


def test_the_clock_of_a_subset_reaches_running_workers(root, monkeypatch):
    parts = [images(root).get_subset([*range(6)]) for _ in range(2)]
    samplers = [sampler_of(RepeatAugSampler, part, monkeypatch) for part in parts]
    parts[1].set_epoch(SEED, 0)
    kept = loader_of(parts[1], samplers[1], workers=1)
    epochs = [
        (load(parts[0], samplers[0], e), load(parts[1], samplers[1], e, loader=kept))
        for e in range(2)
    ]
    assert epochs[0][0] == epochs[0][1] and epochs[1][0] == epochs[1][1]
    assert not set(epochs[0][0]) & set(epochs[1][0])


@pytest.mark.slow
@pytest.mark.parametrize("shuffle", [True, False])
def test_processes_share_the_visits_of_one_process(root, monkeypatch, shuffle):
    def visits(world):
        found = []
        for rank in range(world):
            dataset = images(root)
            sampler = sampler_of(
                RepeatAugSampler, dataset, monkeypatch, rank, world,
                num_repeats=REPEATS, shuffle=shuffle,
            )  # fmt: skip
            numbers = [visit.number for visit in sampler]
            found += [(*v, n) for v, n in zip(load(dataset, sampler, 0), numbers, strict=True)]
        return sorted(found)

    one = visits(1)
    assert len(set(one)) == len({pixels for _, pixels, _ in one}) == COUNT
    assert {number for *_, number in one} == set(range(REPEATS))
    assert visits(2) == one and visits(3) == one


@pytest.mark.parametrize("world", [1, 3, 5])
@pytest.mark.parametrize("count, repeats", [(COUNT, 3), (7, 3), (7, 1), (2, 2)])
def test_the_order_is_that_of_mmpretrain_and_no_visit_is_repeated(
    monkeypatch, count, repeats, world
):
    found = []
    for rank in range(world):
        mine, plain = (
            sampler_of(kind, range(count), monkeypatch, rank, world, num_repeats=repeats)
            for kind in (RepeatAugSampler, PlainRepeatAugSampler)
        )
        for sampler in (mine, plain):
            sampler.set_epoch(4)
        assert list(mine) == list(plain) and len(mine) == len(plain)
        found += [(int(visit), visit.number) for visit in mine]
    assert len(set(found)) == len(found)
    seen = defaultdict(set)
    for index, number in found:
        seen[index].add(number)
    assert all(0 in numbers for numbers in seen.values())


@pytest.mark.parametrize("world", [1, 3])
def test_passes_of_an_endless_sampler_differ_and_continue(root, monkeypatch, world):
    passes = 3
    found = []
    for rank in range(world):
        mine, plain, resumed = (
            sampler_of(kind, range(COUNT), monkeypatch, rank, world)
            for kind in (InfiniteSampler, PlainInfiniteSampler, InfiniteSampler)
        )
        visits = [visit for _, visit in zip(range(passes * COUNT // world), mine, strict=False)]
        assert visits == [index for _, index in zip(visits, plain, strict=False)]
        found += [(int(visit), visit.number) for visit in visits]
        if hasattr(resumed, "skip"):  # Upstream mmengine loads and discards the batches instead.
            resumed.skip(10)
            rest = [(int(v), v.number) for _, v in zip(visits[10:], resumed, strict=False)]
            assert rest == [(int(v), v.number) for v in visits[10:]]
    assert sorted(found) == [(index, number) for index in range(COUNT) for number in range(passes)]


def test_a_visit_is_an_index_that_keeps_its_number():
    visit = pickle.loads(pickle.dumps(Visit(7, 2)))  # noqa: S301
    assert (visit, visit.number, [*range(9)][visit], type(int(visit))) == (7, 2, 7, int)
    assert torch.tensor([Visit(7, 2)]).tolist() == [7]
