"""Matching of classes by name: which output of a head belongs to which label of the data."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bam_mm.data.class_names import ClassNames, Naming, imagenet_folders
from bam_mm.errors import InputError, listing

READINGS = ("subset", "all", "index", "order")
"""Values of ``test_cfg.classes``, see :func:`align`."""

_WNID = re.compile(r"n\d{8}")


@dataclass(frozen=True)
class Alignment:
    """Outputs, or labels of a bank, in the order of the data's labels.

    Attributes:
        columns: Output of each class of the data, followed by the other outputs that compete with
            them. None if every output belongs to the label of the same number.
        classes: Number of classes of the data, None if it is not known.
        known: Number of outputs.
        note: What to log; empty if nothing is remarkable.
        warning: Whether the note is a warning.
    """

    columns: tuple[int, ...] | None
    classes: int | None
    known: int | None
    note: str = ""
    warning: bool = False

    @property
    def partial(self) -> bool:
        """Whether the data lacks classes that are known."""
        return None not in (self.classes, self.known) and self.classes != self.known

    def counts(self) -> dict[str, float]:
        """Return the numbers of classes as metrics, empty if the data has all of them."""
        if not self.partial or self.columns is None:
            return {}
        return {
            "classes/in_data": float(self.classes or 0),
            "classes/compared": float(len(self.columns)),
            "classes/known": float(self.known or 0),
        }


def align(
    known: ClassNames,
    data: ClassNames,
    reading: str | None = None,
    *,
    option: str | None = None,
) -> Alignment:
    """Match the classes of the data with those of a head or of a bank.

    Args:
        known: Classes of the head or of the bank.
        data: Classes of the data to evaluate.
        reading: None stops unless both have the same classes, in whatever order. With ``subset``,
            the data may lack classes, and only the outputs of its classes compete, as in the
            official evaluation of ImageNet-A and ImageNet-R. With ``all``, the data may lack
            classes, and all outputs compete. With ``index``, names are the numbers of the outputs
            (ImageNet-V2), and only these outputs compete; this stops if the outputs have such names
            themselves, and others. With ``order``, names are not compared: the sorted classes of
            the data are the outputs.
        option: Option that sets ``reading``, for messages; None if there is none.

    Returns:
        The outputs in the order of the data's labels.

    Raises:
        InputError: If ``reading`` is unknown, or the classes do not match.
    """
    if reading not in (None, *READINGS):
        raise InputError(f"{option}={reading!r}: choose one of {', '.join(READINGS)}")
    if reading == "order":
        return _in_order(known, data, option)
    if reading == "index":
        return _by_number(known, data, option)
    assumed = _assume_imagenet(known, data)
    if not data.namings or not assumed.namings:
        return _without_names(known, data, reading, option)
    columns, loose = _by_name(assumed, data)
    if None in columns and _numbers_imagenet(assumed, data):
        return _by_number(known, data, option)
    _check_unknown(assumed, data, columns, option)
    found = [column for column in columns if column is not None]
    note = ""
    if assumed is not known:
        note = f"{known.place} records no class names; its 1000 outputs are taken as ImageNet's"
    elif loose:
        note = (
            f"{_most(loose, data)} match {known.place} but for case, spaces, zeros before a number "
            "or the form of accents"
        )
    return _finish(known, data, found, reading, option, note)


def _loosely(name: str) -> str:
    """Return a name without differences of case, of spaces, and of Unicode forms (macOS)."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def _by_value(name: str) -> str:
    """Return a number without zeros before it."""
    return str(int(name)) if _is_number(name) else name


def _by_name(known: ClassNames, data: ClassNames) -> tuple[list[int | None], int]:
    """Return the best match over all namings, and how many names differ in it by a trifle."""
    best: tuple[list[int | None], int] | None = None
    keys: tuple[Callable[[str], str], ...] = (str, _loosely, _by_value)
    for key in keys:
        for ours in data.namings:
            for theirs in known.namings:
                if key is _by_value and not (_are_numbers(ours) and _are_numbers(theirs)):
                    continue
                columns = _columns(theirs, ours, key)
                different = sum(
                    column is not None and theirs[column] != name
                    for column, name in zip(columns, ours, strict=True)
                )
                if best is None or columns.count(None) < best[0].count(None):
                    best = columns, different
                if None not in columns:
                    return best
    assert best is not None  # Both have a naming.
    return best


def _columns(theirs: Naming, ours: Naming, key: Callable[[str], str]) -> list[int | None]:
    if theirs == ours:
        return list(range(len(ours)))
    theirs, ours = tuple(map(key, theirs)), tuple(map(key, ours))
    both = Counter(theirs), Counter(ours)
    # A name that occurs twice, such as ImageNet's "crane", belongs to neither class.
    places = {name: number for number, name in enumerate(theirs) if both[0][name] == 1}
    return [places.get(name) if both[1][name] == 1 else None for name in ours]


def _check_unknown(
    known: ClassNames, data: ClassNames, columns: Sequence[int | None], option: str | None
) -> None:
    unknown = [name for name, c in zip(data.namings[0], columns, strict=True) if c is None]
    if not unknown:
        return
    spare = [name for number, name in enumerate(known.namings[0]) if number not in columns]
    if option is None:
        remedy = "use the same class folders in both"
    elif any(map(_are_numbers, known.namings)):
        remedy = "rename the class folders, or name those to use in dataset.classes"
    elif _are_numbers(data.namings[0]):
        remedy = f"set --cfg-options {option}=index if the names are the numbers of the outputs"
    else:
        remedy = (
            "rename the class folders, name those to use in dataset.classes, or set --cfg-options "
            f"{option}=order if the classes are the same in sorted order"
        )
    one = len(unknown) == 1
    raise InputError(
        f"{len(unknown)} of the {data.count} classes of {data.place} {'is' if one else 'are'} not "
        f"among the {known.count} of {known.place}: {listing(unknown)}"
        f"{f' (only there: {listing(spare)})' if spare else ''}; {remedy}"
    )


def _finish(
    known: ClassNames,
    data: ClassNames,
    columns: list[int],
    reading: str | None,
    option: str | None,
    note: str = "",
) -> Alignment:
    """Complete the outputs of the data's classes by those that compete with them."""
    assert known.count is not None and data.count is not None
    lacking = [number for number in range(known.count) if number not in set(columns)]
    if lacking and reading is None:
        names = known.namings[0] if known.namings else [str(n) for n in range(known.count)]
        lost = [names[n] if n < len(names) else f"output {n}" for n in lacking]
        raise InputError(
            f"{data.place} has {data.count:,} of the {known.count:,} classes of {known.place}, and "
            f"not {listing(lost)}: set --cfg-options {option}=subset to compare its classes only "
            f"(as for ImageNet-A and ImageNet-R), or {option}=all to compare all"
        )
    if lacking:
        if reading != "all" and data.count < 2:
            raise InputError(
                f"{data.place} has a single class, and {option}={reading} compares no other: add "
                f"classes, or set {option}=all"
            )
        competing = f"all {known.count:,}" if reading == "all" else f"only these {data.count:,}"
        note = (
            f"{note + '; ' if note else ''}{data.place} has {data.count:,} of the {known.count:,} "
            f"classes of {known.place}: {competing} are compared"
            f"{f' ({option}={reading})' if option else ''}"
        )
    elif not note and columns != list(range(known.count)):
        moved = sum(number != column for number, column in enumerate(columns))
        note = (
            f"{moved:,} of the {data.count:,} classes of {data.place} have another label in "
            f"{known.place}: labels follow the names"
        )
    if reading == "all":
        columns = columns + lacking
    same = columns == list(range(known.count))
    return Alignment(None if same else tuple(columns), data.count, known.count, note)


def _in_order(known: ClassNames, data: ClassNames, option: str | None) -> Alignment:
    if data.count not in (None, known.count):
        raise InputError(
            f"{option}=order: {data.place} has {data.count} classes, {known.place} {known.count}; "
            f"set {option}=subset to match them by name"
        )
    note = f"{option}=order: the names of the classes are not compared"
    return Alignment(None, data.count, known.count, note)


def _by_number(known: ClassNames, data: ClassNames, option: str | None) -> Alignment:
    numbers = _numbers(data)
    assert known.count is not None
    if numbers is None or not all(number < known.count for number in numbers):
        names = data.namings[0] if data.namings else ()
        wrong = [n for n in names if not _is_number(n) or int(n) >= known.count] or list(names)
        raise InputError(
            f"{option}=index: the classes of {data.place} are not different numbers from 0 to "
            f"{known.count - 1}: {listing(wrong) or 'it has no names'}; rename the class folders"
        )
    _check_own_numbers(known, data, numbers, option)
    note = f"the class names of {data.place} are read as numbers of the outputs of {known.place}"
    if numbers != sorted(numbers):
        note += " (sorted as text, 10 comes before 2)"
    return _finish(known, data, numbers, "index", option, note)


def _check_own_numbers(
    known: ClassNames, data: ClassNames, numbers: Sequence[int], option: str | None
) -> None:
    """Check that outputs whose names are numbers themselves have the numbers of their names."""
    for naming in filter(_are_numbers, known.namings):
        columns = _columns(naming, data.namings[0], _by_value)
        for name, column, number in zip(data.namings[0], columns, numbers, strict=True):
            if column not in (None, number):
                raise InputError(
                    f"{option}=index reads the class {name} of {data.place} as output {number} of "
                    f"{known.place}, but its output with the name {naming[column]} is {column}: "
                    f"leave out {option}=index to match the names"
                )


def _numbers(data: ClassNames) -> list[int] | None:
    """Return the names as numbers, None if they are not different whole numbers."""
    names = data.namings[0] if data.namings else ()
    if not _are_numbers(names):
        return None
    numbers = [int(name) for name in names]
    return numbers if len(set(numbers)) == len(numbers) else None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _are_numbers(names: Sequence[str]) -> bool:
    return bool(names) and all(map(_is_number, names))


def _counts_from_zero(data: ClassNames) -> bool:
    numbers = _numbers(data)
    return numbers is not None and sorted(numbers) == list(range(len(numbers)))


def _numbers_imagenet(known: ClassNames, data: ClassNames) -> bool:
    """Return whether the data numbers all classes of a head that knows them by WordNet ids."""
    return (
        _counts_from_zero(data)
        and data.count == known.count
        and any(
            len(names) == known.count
            and all(map(_WNID.fullmatch, names))
            and list(names) == sorted(names)
            for names in known.namings
        )
    )


def _assume_imagenet(known: ClassNames, data: ClassNames) -> ClassNames:
    """Name the outputs of a head of 1,000 outputs without names, if the data is from ImageNet."""
    if known.namings or known.count != 1000:
        return known
    if not any(all(map(_WNID.fullmatch, names)) for names in data.namings):
        return known
    folders = imagenet_folders()
    if not any(set(names) <= set(folders) for names in data.namings):
        return known
    return ClassNames(known.place, known.count, (folders,))


def _without_names(
    known: ClassNames, data: ClassNames, reading: str | None, option: str | None
) -> Alignment:
    nameless = data if not data.namings else known
    if reading is not None:
        raise InputError(
            f"{option}={reading}: {nameless.place} has no class names to match; set {option}=order "
            "if the classes are the same in sorted order"
        )
    if data.count not in (None, known.count):
        raise InputError(
            f"{data.place} has {data.count} classes, and {known.place} has {known.count} outputs "
            "without class names: test it on the data that it was trained on"
        )
    if _counts_from_zero(data) and _numbers(data) != sorted(_numbers(data) or ()):
        raise InputError(
            f"the classes of {data.place} are numbers, and {known.place} records no class names: "
            f"set --cfg-options {option}=index if they are the numbers of the outputs, or "
            f"{option}=order if the head was trained with the names in the order of text"
        )
    note = f"{nameless.place} has no class names: whether its labels are those of the "
    note += "checkpoint is not checked" if nameless is data else "data is not checked"
    return Alignment(None, data.count, known.count, note, warning=True)


def _most(number: int, data: ClassNames) -> str:
    return f"{number:,} of the {data.count:,} class names of {data.place}"
