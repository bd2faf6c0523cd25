"""Parts of a data set: validation splits, balanced choices, lists of labelled images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bam_mm.errors import InputError
from bam_mm.registry import DATASETS

SIMCLR_LISTS = "https://github.com/google-research/simclr/tree/master/imagenet_subsets"


def find_list(data_root: str, subset: str) -> Path:
    """Find a list by its path, or relative to ``data_root``.

    Raises:
        InputError: If it is in neither place.
    """
    places = [Path(data_root).expanduser() / subset, Path(subset).expanduser()]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"list of labelled images {places[0]} does not exist: put SimCLR's there ({SIMCLR_LISTS}), "
        f"or make a balanced one with `python tools/make_subset.py {data_root} --percent 1` and "
        "name it with --cfg-options subset=FILE"
    )


def choose_listed(
    samples: Sequence[tuple[str, int]] | Sequence[str], list_file: Path, folder: Path
) -> list:
    """Keep the samples that a list names.

    Args:
        samples: (``<class>/<image>``, label) of every image, or the paths alone.
        list_file: One image a line, ``<class>/<image>`` or the image's name alone.
        folder: Of the images, for the message.

    Returns:
        The kept samples, in their order.

    Raises:
        InputError: If the list is empty, names an image twice or one that is not there or not
            unambiguous, or leaves a class without an image.
    """
    lines = [line.strip() for line in list_file.read_text().splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{list_file} names no image: fill it, or make one anew")
    paths = [s if isinstance(s, str) else s[0] for s in samples]
    numbers = {path: number for number, path in enumerate(paths)}
    bare = Counter(Path(path).name for path in paths)
    numbers |= {Path(p).name: n for n, p in enumerate(paths) if bare[Path(p).name] == 1}
    missing = [line for line in lines if line not in numbers]
    if missing:
        shared = " (more than one class has an image of that name: write <class>/<image>)"
        raise InputError(
            f"{list_file} names {len(missing)} of {len(lines)} images that are not in {folder}, "
            f"the first: {missing[0]}{shared if missing[0] in bare else ''}: complete the images, "
            "or use the list that belongs to them"
        )
    chosen = [numbers[line] for line in lines]
    twice = [line for line, n in Counter(chosen).items() if n > 1]
    if twice:
        raise InputError(f"{list_file} names {paths[twice[0]]} more than once: delete the copies")
    kept = [samples[number] for number in sorted(chosen)]
    if not isinstance(samples[0], str):
        without = {label for _, label in samples} - {label for _, label in kept}
        if without:
            first = next(path for path, label in samples if label in without)
            raise InputError(
                f"{list_file} leaves {len(without)} class{'es' * (len(without) > 1)} without an "
                f"image, the first: {Path(first).parts[0]}: add some of it, or make a balanced list "
                "with tools/make_subset.py"
            )
    return kept


def subset_name(percent: float, seed: int) -> str:
    """Name of a list made here; it says what it is: ``balanced_1percent_seed0.txt``."""
    return f"balanced_{percent:g}percent_seed{seed}.txt"


def write_subset(
    data_root: str | Path,
    *,
    percent: float,
    seed: int = 0,
    split: str = "train",
    out: str | Path | None = None,
) -> tuple[Path, int]:
    """Write a seeded list with the same number of images of every class.

    Lines have SimCLR's format (``n01440764_10026.JPEG``) where every image's name is its class,
    ``_`` and a rest, as in ImageNet; else ``<class>/<image>``.

    Args:
        data_root: Folder of ``<split>/<class>/<image>``.
        percent: Of the images.
        seed: Of the choice.
        split: Of which split.
        out: Folder to write to, ``data_root/subsets`` by default.

    Returns:
        The file and the number of images in it.

    Raises:
        InputError: If the data is not there, or too small for the percentage.
    """
    config = dict(
        type="bam_mm.ImageFolder", data_root=str(data_root), split=split, with_label=True
    )
    dataset = DATASETS.build(config)
    chosen = balanced_choice(dataset.get_gt_labels(), percent, seed=seed)
    root = Path(dataset.img_prefix)
    every = [Path(dataset.get_data_info(int(i))["img_path"]) for i in chosen]
    paths = [path.relative_to(root) for path in every]
    plain = all(len(p.parts) == 2 and p.name.startswith(f"{p.parts[0]}_") for p in paths)
    lines = [p.name if plain else p.as_posix() for p in paths]
    folder = Path(out) if out is not None else Path(data_root).expanduser() / "subsets"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / subset_name(percent, seed)
    path.write_text("\n".join(lines) + "\n")
    return path, len(lines)


def stratified_split(
    labels: Sequence[int] | np.ndarray, num_val: int, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a validation part out of a training set, the same fraction of every class.

    Each class gets the whole part of ``num_val * n_class / N``; what is missing to ``num_val`` goes
    to the classes with the largest remainders (the first of them where they tie).

    Args:
        labels: (N,) integers.
        num_val: Images of the validation part, in [0, N].
        seed: The same seed gives the same split everywhere.

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
    labels: Sequence[int] | np.ndarray, percent: float, *, seed: int = 0
) -> np.ndarray:
    """Choose a percentage of the images, the same number from every class.

    The total is ``round(percent / 100 * N)``, at least one image a class. Where it is no multiple of
    the number of classes, some classes, drawn by the seed, get one image more.

    Args:
        labels: (N,) integers.
        percent: In (0, 100].
        seed: The same seed gives the same choice everywhere.

    Returns:
        Sorted indices.

    Raises:
        InputError: If the percentage is not in (0, 100], or a class has too few images.
    """
    labels = np.asarray(labels)
    if not 0 < percent <= 100:
        raise InputError(f"--percent {percent}: choose a percentage in (0, 100], as 1 or 10")
    classes, counts = np.unique(labels, return_counts=True)
    total = max(round(percent / 100 * len(labels)), len(classes))
    quota = np.full(len(classes), total // len(classes))
    rng = np.random.default_rng(seed)
    quota[rng.permutation(len(classes))[: total % len(classes)]] += 1
    short = np.flatnonzero(quota > counts)
    if len(short):
        first = short[0]
        raise InputError(
            f"--percent {percent}: a balanced choice takes {quota[first]} images of each class, "
            f"but class number {classes[first]} has {counts[first]}: choose a smaller percentage"
        )
    return _draw(labels, dict(zip(classes.tolist(), quota.tolist(), strict=True)), seed)


def _draw(labels: np.ndarray, quota: dict[int, int], seed: int) -> np.ndarray:
    chosen = []
    for label, count in quota.items():
        rows = np.flatnonzero(labels == label)
        # Each class has its own random stream: another class's size changes nothing here.
        rng = np.random.default_rng([seed, label])
        chosen.append(rng.permutation(rows)[:count])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, int)
