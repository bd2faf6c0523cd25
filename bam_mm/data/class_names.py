"""Class names: which output of a head, or which label of a bank, belongs to a class of the data.

Labels follow the sorted names of the class folders, so in data with other folders the same number
is another class. Here, classes are matched by their names.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log

from bam_mm.errors import InputError, listing

READINGS = ("subset", "all", "index", "order")
"""Values of ``test_cfg.classes``, see :func:`align`."""

FOLDERS = "class_folders"
"""Key in ``meta`` of a checkpoint under which class folders are stored if classes have words."""

_WNID = re.compile(r"n\d{8}")

Naming = tuple[str, ...]
"""One name for each label 0, 1, ..."""


@dataclass(frozen=True)
class ClassNames:
    """Names of the classes that a data set, or a head, numbers 0, 1, ...

    Attributes:
        place: Description for messages, such as ``the test data in data/birds``.
        count: Number of classes; None if it is not known.
        namings: Equivalent names, such as class folders and words; empty if there are none.
    """

    place: str
    count: int | None
    namings: tuple[Naming, ...] = ()


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


def names_of(dataset: Any, part: str) -> ClassNames:
    """Return the class names of a data set.

    Args:
        dataset: Data set of mmpretrain, possibly in a wrapper of mmengine.
        part: ``train``, ``val``, ``test`` or the name of another loader, for messages.
    """
    inner = unwrap(dataset)
    place = getattr(inner, "data_root", "") or type(inner).__name__
    folders, classes = folders_of(inner), classes_of(inner)
    namings = _namings(folders, classes)
    return ClassNames(
        f"the {part} data in {place}", len(namings[0]) if namings else None, namings
    )


def names_in_checkpoint(meta: Mapping[str, Any] | None, path: str, outputs: int) -> ClassNames:
    """Return the class names that a checkpoint of a classifier records.

    Args:
        meta: ``meta`` of the checkpoint, as mmengine writes it; None if it has none.
        path: Path of the checkpoint, for messages.
        outputs: Number of outputs of the head.
    """
    meta = meta if isinstance(meta, Mapping) else {}
    namings = _namings(meta.get(FOLDERS), recorded_classes(meta))
    fitting = tuple(naming for naming in namings if len(naming) <= outputs)
    return ClassNames(f"checkpoint {path}", outputs, fitting)


def recorded_classes(meta: Mapping[str, Any] | None) -> Naming | None:
    """Return the classes in ``meta`` of a checkpoint of mmengine, or of the versions before it."""
    meta = meta if isinstance(meta, Mapping) else {}
    recorded = meta.get("dataset_meta")
    recorded = recorded if isinstance(recorded, Mapping) else {}
    found = [recorded.get("classes"), recorded.get("CLASSES"), meta.get("CLASSES")]
    return next((names for names in map(_strings, found) if names), None)


def unwrap(dataset: Any) -> Any:
    """Return the first data set inside wrappers such as mmengine's ``ClassBalancedDataset``."""
    while not hasattr(dataset, "CLASSES"):
        inner = getattr(dataset, "dataset", None) or next(
            iter(getattr(dataset, "datasets", None) or ()), None
        )
        if inner is None:
            break
        dataset = inner
    return dataset


def classes_of(dataset: Any) -> Naming | None:
    """Return the names of a data set's classes in the order of their labels, None if it has none.

    Args:
        dataset: Data set of mmengine, possibly in a wrapper.
    """
    inner = unwrap(dataset)
    found = getattr(inner, "CLASSES", None)
    if found is None:
        found = (getattr(inner, "metainfo", None) or {}).get("classes")
    return _strings(found)


def folders_of(dataset: Any) -> Naming | None:
    """Return the class folders in the order of their labels, None if labels are not from folders.

    Args:
        dataset: Data set of mmpretrain, possibly in a wrapper.
    """
    numbers = getattr(unwrap(dataset), "folder_to_idx", None)
    if not numbers or sorted(numbers.values()) != list(range(len(numbers))):
        return None
    return tuple(sorted(numbers, key=numbers.__getitem__))


def align(
    known: ClassNames, data: ClassNames, reading: str | None = None, *, option: str
) -> Alignment:
    """Match the classes of the data with those of a head or of a bank.

    Args:
        known: Classes of the head or of the bank.
        data: Classes of the data to evaluate.
        reading: None stops unless both have the same classes, in whatever order. With ``subset``,
            the data may lack classes, and only the outputs of its classes compete, as in the
            official evaluation of ImageNet-A and ImageNet-R. With ``all``, the data may lack
            classes, and all outputs compete. With ``index``, names are the numbers of the outputs
            (ImageNet-V2), and only these outputs compete. With ``order``, names are not compared:
            the sorted classes of the data are the outputs.
        option: Option that sets ``reading``, for messages.

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
        note = f"{_most(loose, data)} match {known.place} but for case, spaces or accents' form"
    return _finish(known, data, found, reading, option, note)


def check_dense_classes(meta: Mapping[str, Any], path: str, dataset: Any) -> None:
    """Check that a checkpoint of mmdet or mmseg was trained with the classes of the data.

    Args:
        meta: ``meta`` of the checkpoint. Without class names, a warning is logged.
        path: Path of the checkpoint, for the message.
        dataset: Data set to evaluate, possibly in a wrapper.

    Raises:
        InputError: If the classes or their order differ, so that labels have different meanings.
    """
    trained, tested = recorded_classes(meta), classes_of(dataset)
    if tested is None or trained == tested:
        return
    if trained is None:
        note = f"checkpoint {path} records no class names: that its classes are those of the test "
        print_log(f"{note}data is not checked", logger="current", level=logging.WARNING)
        return
    pairs = list(zip(trained, tested, strict=False))
    first = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
    ends = [names[first] if first < len(names) else "nothing" for names in (trained, tested)]
    raise InputError(
        f"checkpoint {path} was trained with {len(trained)} classes, and the test data has "
        f"{len(tested)} in {'another order' if set(trained) == set(tested) else 'other words'}: "
        f"class {first} is {ends[0]!r} in the checkpoint and {ends[1]!r} in the data; set "
        "test_dataloader.dataset.metainfo.classes to the names of the training, in their order"
    )


def check_resumed_classes(meta: Mapping[str, Any] | None, dataset: Any) -> None:
    """Check that a resumed training has the classes with which it was started.

    Args:
        meta: ``meta`` of the checkpoint. Without class names, nothing is checked.
        dataset: Training data, possibly in a wrapper.

    Raises:
        InputError: If the classes, or the folders of the same words, differ.
    """
    stored = meta.get(FOLDERS) if isinstance(meta, Mapping) else None
    pairs = [(recorded_classes(meta), classes_of(dataset)), (_strings(stored), folders_of(dataset))]
    for before, now in pairs:
        if before is None or now is None or before == now:
            continue
        changed = [name for name in (*before, *now) if name not in before or name not in now]
        raise InputError(
            f"resume: the run was started with {len(before)} classes, and the training data now "
            f"has {len(now)}; not in both: {listing(changed) or 'none, but their order differs'}. "
            "Restore the class folders, or start a new run in another work folder"
        )


def choose_folders(
    folders: Sequence[str], names: Sequence[str], place: str
) -> dict[str, int]:
    """Number the class folders that the ``classes`` of a data set name.

    Args:
        folders: Sorted names of all class folders.
        names: Class folders to use, in the order of their labels, or one name for each folder.
        place: Folder of the class folders, for the message.

    Returns:
        Label of each folder that is used.

    Raises:
        InputError: If the names are neither.
    """
    unknown = [name for name in names if name not in folders]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if not unknown and not twice:
        return {name: label for label, name in enumerate(names)}
    renamed = len(names) == len(folders) and all(
        name == folder or name not in folders for name, folder in zip(names, folders, strict=True)
    )
    if renamed:
        return {folder: label for label, folder in enumerate(folders)}
    fault = f"not class folders of {place}: {listing(unknown)}" if unknown else ""
    raise InputError(
        f"dataset.classes has {len(names)} names, {fault or f'some twice: {listing(twice)}'}; list "
        f"the folders to use, or one name for each of the {len(folders)} folders in sorted order"
    )


def imagenet_folders() -> Naming:
    """Return the 1,000 class folders of ImageNet-1k (WordNet ids) in the order of their labels."""
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


def _namings(folders: Iterable[Any] | None, words: Iterable[Any] | None) -> tuple[Naming, ...]:
    folders, words = _strings(folders), _strings(words)
    if words and len(words) == 1000 and words in _imagenet_words():
        # mmpretrain assigns these words to any 1,000 folders, in the order of the folders.
        if folders and folders != imagenet_folders():
            words = None
        folders = folders or imagenet_folders()
    return tuple(dict.fromkeys(names for names in (folders, words) if names))


def _imagenet_words() -> tuple[Naming, ...]:
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES, IMAGENET_SIMPLE_CATEGORIES

    return tuple(IMAGENET_CATEGORIES), tuple(IMAGENET_SIMPLE_CATEGORIES)


def _strings(names: Any) -> Naming | None:
    if isinstance(names, (str, bytes, Mapping)) or not isinstance(names, Iterable):
        return None
    return tuple(str(name) for name in names)


def _loosely(name: str) -> str:
    """Return a name without differences of case, of spaces, and of Unicode forms (macOS)."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def _by_name(known: ClassNames, data: ClassNames) -> tuple[list[int | None], int]:
    """Return the best match over all namings, and how many names differ in it by a trifle."""
    best: tuple[list[int | None], int] | None = None
    keys: tuple[Callable[[str], str], ...] = (str, _loosely)
    for key in keys:
        for ours in data.namings:
            for theirs in known.namings:
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
    known: ClassNames, data: ClassNames, columns: Sequence[int | None], option: str
) -> None:
    unknown = [name for name, c in zip(data.namings[0], columns, strict=True) if c is None]
    if not unknown:
        return
    spare = [name for number, name in enumerate(known.namings[0]) if number not in columns]
    if all(map(_is_number, data.namings[0])):
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
    option: str,
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
            f"classes of {known.place}: {competing} are compared ({option}={reading})"
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


def _in_order(known: ClassNames, data: ClassNames, option: str) -> Alignment:
    if data.count not in (None, known.count):
        raise InputError(
            f"{option}=order: {data.place} has {data.count} classes, {known.place} {known.count}; "
            f"set {option}=subset to match them by name"
        )
    note = f"{option}=order: the names of the classes are not compared"
    return Alignment(None, data.count, known.count, note)


def _by_number(known: ClassNames, data: ClassNames, option: str) -> Alignment:
    numbers = _numbers(data)
    assert known.count is not None
    if numbers is None or not all(number < known.count for number in numbers):
        names = data.namings[0] if data.namings else ()
        wrong = [n for n in names if not _is_number(n) or int(n) >= known.count] or list(names)
        raise InputError(
            f"{option}=index: the classes of {data.place} are not different numbers from 0 to "
            f"{known.count - 1}: {listing(wrong) or 'it has no names'}; rename the class folders"
        )
    note = f"the class names of {data.place} are read as numbers of the outputs of {known.place}"
    if numbers != sorted(numbers):
        note += " (sorted as text, 10 comes before 2)"
    return _finish(known, data, numbers, "index", option, note)


def _numbers(data: ClassNames) -> list[int] | None:
    """Return the names as numbers, None if they are not different whole numbers."""
    names = data.namings[0] if data.namings else ()
    if not names or not all(map(_is_number, names)):
        return None
    numbers = [int(name) for name in names]
    return numbers if len(set(numbers)) == len(numbers) else None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


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
    known: ClassNames, data: ClassNames, reading: str | None, option: str
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
