"""Seeded splits and choices: sizes by hand, balance, and equality on every machine."""

import numpy as np
import pytest

from bam_mm.data.subsets import balanced_choice, choose_part, stratified_split
from bam_mm.data.transfer import TRANSFER
from bam_mm.errors import InputError


def test_every_class_contributes_the_same_fraction():
    labels = np.repeat([0, 1, 2], [30, 60, 10])
    train, val = stratified_split(labels, 20)
    assert np.bincount(labels[val]).tolist() == [6, 12, 2]
    assert sorted([*train, *val]) == list(range(100))
    assert (np.diff(val) > 0).all() and (np.diff(train) > 0).all()


def test_largest_remainders_fill_up():
    # 5 of 10: ideally 1.5, 2.0, 1.5. The integer parts 1, 2, 1 leave one image, which comes from
    # the first class.
    labels = np.repeat([0, 1, 2], [3, 4, 3])
    _, val = stratified_split(labels, 5)
    assert np.bincount(labels[val]).tolist() == [2, 2, 1]


def test_only_the_seed_determines_the_split():
    labels = np.random.default_rng(1).integers(0, 7, 300)
    a = stratified_split(labels, 50, seed=0)[1]
    assert np.array_equal(a, stratified_split(labels, 50, seed=0)[1])
    assert not np.array_equal(a, stratified_split(labels, 50, seed=1)[1])
    # The same images on every machine.
    assert stratified_split(np.repeat([0, 1], 10), 4, seed=0)[1].tolist() == [4, 6, 11, 19]


# BYOL, Table 10: train, val, test.
TABLE_10 = {
    "food101": (68175, 7575, 25250),
    "cifar10": (45000, 5000, 10000),
    "cifar100": (44933, 5067, 10000),
    "cars": (6494, 1650, 8041),
    "aircraft": (3334, 3333, 3333),
    "pets": (2940, 740, 3669),
    "flowers": (1020, 1020, 6149),
}


def test_the_sizes_are_those_of_table_10():
    assert {name: data.sizes for name, data in TRANSFER.items()} == TABLE_10
    per_class = {name for name, data in TRANSFER.items() if data.metric == "mean per-class"}
    assert per_class == {"aircraft", "pets", "flowers"}


@pytest.mark.parametrize("name", [n for n, d in TRANSFER.items() if d.official[1] is None])
def test_our_splits_have_the_sizes_of_table_10(name):
    data = TRANSFER[name]
    labels = np.arange(sum(data.sizes[:2])) % data.num_classes
    train, val = stratified_split(labels, data.sizes[1])
    assert (len(train), len(val)) == data.sizes[:2]
    counts = np.bincount(labels[val])
    assert counts.max() - counts.min() <= 1
    assert "our balanced split, seed 0" in data.name_of("val")
    assert "official" in data.name_of("test")


def test_balanced_choice_takes_the_same_number_of_each_class():
    labels = np.repeat([0, 1, 2], [500, 300, 200])
    chosen = balanced_choice(labels, 3)
    assert np.bincount(labels[chosen]).tolist() == [10, 10, 10]
    # 1 % of 1000 is 10: three images of each class, and one more of a randomly drawn class.
    counts = np.bincount(labels[balanced_choice(labels, 1)])
    assert sorted(counts.tolist()) == [3, 3, 4]
    assert np.array_equal(balanced_choice(labels, 1, seed=5), balanced_choice(labels, 1, seed=5))
    assert not np.array_equal(
        balanced_choice(labels, 3, seed=0), balanced_choice(labels, 3, seed=1)
    )
    # At least one image of each class.
    assert len(balanced_choice(labels, 0.01)) == 3


def test_a_list_of_the_same_seed_does_not_lie_in_the_held_out_images():
    labels = np.repeat([0, 1], 1000)
    samples = [(str(number), label) for number, label in enumerate(labels.tolist())]
    held_out = {int(path) for path, _ in choose_part(samples, "val", fraction=0.1)}
    shared = held_out & set(balanced_choice(labels, 10).tolist())
    assert len(held_out) == 200 and 5 <= len(shared) <= 40  # 20 by chance.


def test_a_class_that_is_too_small_is_reported():
    with pytest.raises(InputError, match="takes 25 images of each class, but class number 1 has 5"):
        balanced_choice(np.repeat([0, 1], [95, 5]), 50)
    labels = np.repeat([0, 1, 2], [3, 3, 1])
    with pytest.raises(InputError, match=r"but class owl has 1: choose at most 42\.8$"):
        balanced_choice(labels, 99, names=["crow", "duck", "owl"])
    assert len(balanced_choice(labels, 42.8)) == 3
    with pytest.raises(InputError, match="--percent 0"):
        balanced_choice(np.zeros(5, int), 0)


@pytest.mark.parametrize("seed", [-1, 0.5])
def test_a_wrong_seed_of_the_held_out_images_stops(seed):
    with pytest.raises(InputError, match=rf"dataset\.split_seed={seed}: set an integer"):
        choose_part([("a/0.png", 0), ("a/1.png", 0)], "val", fraction=0.5, seed=seed)
