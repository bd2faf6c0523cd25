"""Data sets of known size, for ``bam-mm check-data NAME PATH``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmpretrain.datasets import CIFAR10, CIFAR100

from bam_mm.data.checks.dense_folders import instances, maps
from bam_mm.data.checks.folders import (
    Check,
    Finding,
    KnownData,
    check_folder,
    check_known,
    class_folders,
    count,
    file,
    listed,
    sequences,
)
from bam_mm.data.checks.own_instances import check_own_instances
from bam_mm.errors import InputError


def _whole_line(line: str) -> str:
    return line


def _first_word(line: str) -> str:
    return line.split()[0]


def _batches(kind: Any) -> tuple[Check, ...]:
    # mmpretrain unpickles these files, so they must match its checksums.
    return tuple(
        file(f"{kind.base_folder}/{name}", md5=md5)
        for name, md5 in kind.train_list + kind.test_list
    )


def _aircraft(split: str, size: int) -> Check:
    return listed(f"data/images_variant_{split}.txt", size, "data/images/{}.jpg", _first_word)


def _pets(split: str, size: int) -> Check:
    return listed(f"annotations/{split}.txt", size, "images/{}.jpg", _first_word)


KNOWN = {
    "imagenet": KnownData(
        "ImageNet-1k (ILSVRC 2012)",
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from https://image-net.org",
        ((class_folders("train", 1000, 1281167), class_folders("val", 1000, 50000)),),
    ),
    "food101": KnownData(
        "Food-101",
        "food-101.tar.gz from https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        (
            (
                listed("meta/train.txt", 75750, "images/{}.jpg", _whole_line),
                listed("meta/test.txt", 25250, "images/{}.jpg", _whole_line),
            ),
        ),
    ),
    "cifar10": KnownData("CIFAR-10", CIFAR10.url, (_batches(CIFAR10),)),
    "cifar100": KnownData("CIFAR-100", CIFAR100.url, (_batches(CIFAR100),)),
    "cars": KnownData(
        "Stanford Cars",
        "car_ims.tgz and cars_annos.mat (or cars_train, cars_test and devkit) of Krause et al. "
        "2013",
        (
            (count("car_ims/*.jpg", 16185), file("cars_annos.mat")),
            (
                count("cars_train/*.jpg", 8144),
                count("cars_test/*.jpg", 8041),
                file("devkit/cars_train_annos.mat"),
                file("devkit/cars_test_annos_withlabels.mat"),
            ),
        ),
    ),
    "aircraft": KnownData(
        "FGVC-Aircraft",
        "fgvc-aircraft-2013b.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
        (
            (
                _aircraft("train", 3334),
                _aircraft("val", 3333),
                _aircraft("trainval", 6667),
                _aircraft("test", 3333),
            ),
        ),
    ),
    "pets": KnownData(
        "Oxford-IIIT Pets",
        "images.tar.gz and annotations.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/pets",
        ((_pets("trainval", 3680), _pets("test", 3669)),),
    ),
    "flowers": KnownData(
        "Oxford 102 Flowers",
        "102flowers.tgz, imagelabels.mat and setid.mat from "
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
        ((count("jpg/image_*.jpg", 8189), file("imagelabels.mat"), file("setid.mat")),),
    ),
    "coco": KnownData(
        "COCO 2017",
        "train2017.zip, val2017.zip and annotations_trainval2017.zip from https://cocodataset.org",
        (
            (
                instances("annotations/instances_train2017.json", "train2017", 118287, 80),
                instances("annotations/instances_val2017.json", "val2017", 5000, 80),
            ),
        ),
    ),
    "ade20k": KnownData(
        "ADE20K of the scene parsing challenge (ADEChallengeData2016)",
        "ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu",
        (
            (
                maps("images/training", "annotations/training", 20210),
                maps("images/validation", "annotations/validation", 2000),
            ),
        ),
    ),
    "davis2017": KnownData(
        "DAVIS-2017 trainval, 480p",
        "DAVIS-2017-trainval-480p.zip from https://davischallenge.org",
        ((sequences("train", 60), sequences("val", 30)),),
    ),
}
"""Data sets of known size, by the name that ``bam-mm check-data`` takes."""


def check_data(name: str, root: str | Path) -> list[Finding]:
    """Check a data set of known size, or your own data.

    Args:
        name: Key of :data:`KNOWN`, ``folder`` for your own image folders, or ``instances`` for your
            own COCO instance files.
        root: Folder of the data set.

    Returns:
        The findings; each fault has a remedy.

    Raises:
        InputError: If the name is unknown.
    """
    if name == "folder":
        return check_folder(root)
    if name == "instances":
        return check_own_instances(root)
    if name not in KNOWN:
        names = ", ".join([*KNOWN, "folder", "instances"])
        raise InputError(f"unknown data set {name!r}: choose one of {names}")
    return check_known(KNOWN[name], root)
