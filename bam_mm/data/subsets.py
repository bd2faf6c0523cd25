"""Parts of a data set: validation splits, balanced subsets and lists of labelled images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bam_mm.data.name_lists import read_names, write_names
from bam_mm.errors import InputError
from bam_mm.registry import DATASETS

SIMCLR_LISTS = "https://github.com/google-research/simclr/tree/master/imagenet_subsets"


def find_list(data_root: str, subset: str) -> Path:
    """Find a list of labelled images.

    Args:
        data_root: Folder of the data set.
        subset: Path of the list, relative to ``data_root`` or to the working directory.

    Raises:
        InputError: If the list is in neither place.
    """
    places = [Path(data_root).expanduser() / subset, Path(subset).expanduser()]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"list of labelled images {places[0]} does not exist: download SimCLR's list "
        f"({SIMCLR_LISTS}), or create a balanced one with `bam-mm subset {data_root} "
        "--percent 1` and set --cfg-options subset=FILE"
    )


def choose_listed(
    samples: Sequence[tuple[str, int]] | Sequence[str], list_file: Path, folder: Path
) -> list:
    """Keep the samples that a list names.

    Args:
        samples: (``<class>/<image>``, label) pairs of all images, or their paths alone.
        list_file: List with one image per line, as ``<class>/<image>`` or the image's name alone.
        folder: Folder of the images, for messages.

    Returns:
        The samples to keep, in their original order.

    Raises:
        InputError: If the list is empty, names an image that is missing, ambiguous or repeated, or
            leaves a class without an image.
    """
    lines = read_names(list_file)
    if not lines:
        raise InputError(
            f"{list_file} names no image: add images, or create the list again with bam-mm subset"
        )
    paths = [s if isinstance(s, str) else s[0] for s in samples]
    numbers = {path: number for number, path in enumerate(paths)}
    bare = Counter(Path(path).name for path in paths)
    numbers |= {Path(p).name: n for n, p in enumerate(paths) if bare[Path(p).name] == 1}
    missing = [line for line in lines if line not in numbers]
    if missing:
        shared = " (more than one class has an image of that name: write <class>/<image>)"
        raise InputError(
            f"{len(missing)} of the {len(lines)} images in {list_file} are not in {folder}, the "
            f"first: {missing[0]}{shared if missing[0] in bare else ''}: add the missing images, "
            "or use a list made for this data set"
        )
    chosen = [numbers[line] for line in lines]
    twice = [line for line, n in Counter(chosen).items() if n > 1]
    if twice:
        raise InputError(
            f"{list_file} names {paths[twice[0]]} more than once: remove the duplicates"
        )
    chosen.sort()
    labelled = [sample for sample in samples if not isinstance(sample, str)]
    if labelled:
        without = {label for _, label in labelled} - {labelled[number][1] for number in chosen}
        if without:
            first = next(path for path, label in labelled if label in without)
            raise InputError(
                f"{list_file} leaves {len(without)} class{'es' * (len(without) > 1)} without an "
                f"image, the first: {Path(first).parts[0]}: add images of it, or create a balanced "
                "list with bam-mm subset"
            )
    return [samples[number] for number in chosen]


def choose_part(
    samples: Sequence[tuple[str, int]], part: str, *, fraction: float, seed: int = 0
) -> list[tuple[str, int]]:
    """Keep the samples that are held out for validation, or the others.

    Args:
        samples: (``<class>/<image>``, label) pairs.
        part: ``val`` for the held-out samples, ``train`` for the others.
        fraction: Fraction of each class to hold out, in (0, 1), but at least one image.
        seed: Seed of the random choice; the same seed chooses the same samples on every machine.

    Returns:
        The samples to keep, in their original order.

    Raises:
        InputError: If the part, the fraction or the seed is wrong, or a class has no image left to
            train on.
    """
    if part not in ("train", "val"):
        raise InputError(
            f"dataset.part={part!r}: choose 'val' for the held-out images, 'train' for the others, "
            "or None for all"
        )
    if not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
        raise InputError(
            f"dataset.val_fraction={fraction!r}: the fraction of the images that is held out must "
            "be above 0 and below 1; 0.1 is usual"
        )
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise InputError(f"dataset.split_seed={seed!r}: set an integer of at least 0")
    labels = np.array([label for _, label in samples])
    classes, counts = np.unique(labels, return_counts=True)
    quota = {
        int(label): max(1, round(fraction * int(count)))
        for label, count in zip(classes, counts, strict=True)
    }
    # A stream of its own: a list that balanced_choice draws with the same seed would otherwise lie
    # in the held-out images.
    held_out = set(_draw(labels, quota, seed, 1).tolist())
    kept = [sample for number, sample in enumerate(samples) if number not in held_out]
    if lost := {label for _, label in samples} - {label for _, label in kept}:
        first = next(path for path, label in samples if label in lost)
        raise InputError(
            f"dataset.val_fraction={fraction}: all images of class {Path(first).parts[0]} are held "
            "out for validation and none is left to train on: add images, or lower the fraction"
        )
    return [samples[number] for number in sorted(held_out)] if part == "val" else kept


def subset_name(percent: float, seed: int) -> str:
    """Return the file name of a generated list, such as ``balanced_1percent_seed0.txt``."""
    return f"balanced_{percent:g}percent_seed{seed}.txt"


def write_subset(
    data_root: str | Path,
    *,
    percent: float,
    seed: int = 0,
    split: str = "train",
    out: str | Path | None = None,
) -> tuple[Path, int]:
    """Write a seeded list with the same number of images from every class.

    Lines have SimCLR's format (``n01440764_10026.JPEG``) if the name of every image starts with its
    class and an underscore, as in ImageNet; otherwise they are ``<class>/<image>``.

    Args:
        data_root: Folder with ``<split>/<class>/<image>``.
        percent: Percentage of the images to choose.
        seed: Seed of the random choice.
        split: Split to choose from.
        out: Folder to write to, ``data_root/subsets`` by default.

    Returns:
        Path of the list, and the number of images in it.

    Raises:
        InputError: If the data is missing, or too small for the percentage.
    """
    config = dict(type="bam_mm.ImageFolder", data_root=str(data_root), split=split, with_label=True)
    dataset = DATASETS.build(config)
    names = dataset.CLASSES
    chosen = balanced_choice(dataset.get_gt_labels(), percent, seed=seed, names=names)
    root = Path(dataset.img_prefix)
    images = [Path(dataset.get_data_info(int(i))["img_path"]) for i in chosen]
    paths = [path.relative_to(root) for path in images]
    plain = all(len(p.parts) == 2 and p.name.startswith(f"{p.parts[0]}_") for p in paths)
    lines = [p.name if plain else p.as_posix() for p in paths]
    folder = Path(out) if out is not None else Path(data_root).expanduser() / "subsets"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / subset_name(percent, seed)
    write_names(path, lines)
    return path, len(lines)


def stratified_split(
    labels: Sequence[int] | np.ndarray, num_val: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split a validation part off a training set, with the same fraction of every class.

    Each class contributes the integer part of ``num_val * n_class / N``. The images that are then
    missing from ``num_val`` come from the classes with the largest remainders, one from each (from
    the first classes in case of ties).

    Args:
        labels: (N,) integer labels.
        num_val: Number of validation images, in [0, N].
        seed: Seed of the random choice; the same seed returns the same split on every machine.

    Returns:
        Sorted indices of the training part and of the validation part.

    Raises:
        ValueError: If ``num_val`` is not in [0, N].
    """
    labels = np.asarray(labels)
    if not 0 <= num_val <= len(labels):
        raise ValueError(f"num_val={num_val} of {len(labels)} images: choose 0 to {len(labels)}")
    classes, counts = np.unique(labels, return_counts=True)
    ideal = num_val * counts / max(len(labels), 1)
    quota = np.floor(ideal).astype(int)
    missing = num_val - quota.sum()
    quota[np.argsort(quota - ideal, kind="stable")[:missing]] += 1
    val = _draw(labels, dict(zip(classes.tolist(), quota.tolist(), strict=True)), seed)
    return np.setdiff1d(np.arange(len(labels)), val), val


def balanced_choice(
    labels: Sequence[int] | np.ndarray,
    percent: float,
    *,
    seed: int = 0,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Choose a percentage of the images, with the same number from every class.

    The total is ``round(percent / 100 * N)``, but at least one image per class. If it is not a
    multiple of the number of classes, some randomly drawn classes contribute one image more.

    Args:
        labels: (N,) integer labels.
        percent: Percentage of the images to choose, in (0, 100].
        seed: Seed of the random choice; the same seed returns the same images on every machine.
        names: Names of the classes, for the message.

    Returns:
        Sorted indices of the chosen images.

    Raises:
        InputError: If the percentage is not in (0, 100], or a class has too few images.
    """
    labels = np.asarray(labels)
    if not 0 < percent <= 100:
        raise InputError(f"--percent {percent}: choose a percentage in (0, 100], such as 1 or 10")
    classes, counts = np.unique(labels, return_counts=True)
    total = max(round(percent / 100 * len(labels)), len(classes))
    quota = np.full(len(classes), total // len(classes))
    rng = np.random.default_rng(seed)
    quota[rng.permutation(len(classes))[: total % len(classes)]] += 1
    short = np.flatnonzero(quota > counts)
    if len(short):
        first = short[0]
        label = classes[first]
        name = f"class {names[label]}" if names else f"class number {label}"
        most = 100 * len(classes) * counts.min() / len(labels)
        step = 10.0 ** (np.floor(np.log10(most)) - 2)  # Three digits, rounded down.
        raise InputError(
            f"--percent {percent:g}: a balanced choice takes {quota[first]} images of each class, "
            f"but {name} has {counts[first]}: choose at most {np.floor(most / step) * step:.3g}"
        )
    return _draw(labels, dict(zip(classes.tolist(), quota.tolist(), strict=True)), seed)


def _draw(labels: np.ndarray, quota: dict[int, int], seed: int, *stream: int) -> np.ndarray:
    chosen = []
    for label, count in quota.items():
        rows = np.flatnonzero(labels == label)
        # Each class has its own random stream, so that its images do not depend on other classes.
        rng = np.random.default_rng([seed, label, *stream])
        chosen.append(rng.permutation(rows)[:count])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int)
