"""Lists of the labelled images of semi-supervised protocols."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bam_mm.errors import InputError

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
