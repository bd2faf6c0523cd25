"""Class names of a data set against the categories of its COCO file."""

from __future__ import annotations

from collections.abc import Sequence

from bam_mm.errors import InputError, listing


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
        classes: Names of the data set's classes.
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
    missing = [name for name in classes if name not in names]
    if missing:
        raise InputError(
            f"{place} has {len(names)} categories ({listing(names)}), and {len(missing)} of the "
            f"{len(classes)} classes of the data set are not among them ({listing(missing)}): "
            f"set --cfg-options {_options(suggested or names)}, or set data_root to the data that "
            "the head is meant for"
        )
    repeated = [name for name in dict.fromkeys(classes) if list(classes).count(name) > 1]
    if repeated:
        raise InputError(
            f"metainfo.classes names {listing(repeated)} more than once: name every class of "
            f"{place} once"
        )


def _options(names: Sequence[str]) -> str:
    shown = [*names[:2], "..."] if len(names) > 12 else names
    return f'metainfo.classes="[{",".join(shown)}]" num_classes={len(names)}'
