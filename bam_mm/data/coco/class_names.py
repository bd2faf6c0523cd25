"""Class names of a data set against the categories of its COCO file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bam_mm.errors import InputError, listing


def plain_names(names: Iterable[object]) -> list[str]:
    """Return names without spaces around them, and numbers as text, as those of a file are read.

    mmdet's own lists have such spaces, for example ``"tissue "`` in that of Objects365.
    """
    return [str(name).strip() for name in names]


def check_class_names(
    classes: Sequence[str],
    names: Sequence[str],
    place: str,
    *,
    suggested: Sequence[str] | None = None,
) -> None:
    """Check that the classes of a data set are categories of its instance file.

    mmdet silently drops a class that the file lacks, and numbers the other classes without it.

    Args:
        classes: Names of the data set's classes, read as by :func:`plain_names`.
        names: Names of the file's categories.
        place: Path of the file, for messages.
        suggested: Names that the message suggests as classes; None for all of the file.

    Raises:
        InputError: If a class is missing from the file or named twice, or the classes are one text.
    """
    if isinstance(classes, str):
        raise InputError(
            f"metainfo.classes={classes!r} is a text, which mmdet reads letter by letter: set "
            f'--cfg-options metainfo.classes="[{classes}]"'
        )
    classes, known = plain_names(classes), set(names)
    missing = [name for name in classes if name not in known]
    if missing:
        raise InputError(
            f"{place} has {len(names)} categories ({listing(names)}), and {len(missing)} of the "
            f"{len(classes)} classes of the data set are not among them ({listing(missing)}): "
            f"set --cfg-options {_options(suggested or names)}, or set data_root to the data that "
            "the head is meant for"
        )
    repeated = [name for name, number in Counter(classes).items() if number > 1]
    if repeated:
        raise InputError(
            f"metainfo.classes names {listing(repeated)} more than once: name every class of "
            f"{place} once"
        )


def _options(names: Sequence[str]) -> str:
    shown = [*names[:2], "..."] if len(names) > 12 else names
    return f'metainfo.classes="[{",".join(shown)}]" num_classes={len(names)}'
