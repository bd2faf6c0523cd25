"""Names of the classes of data sets and checkpoints: class folders, words, or both.

Labels follow the sorted names of the class folders, so in data with other folders the same number
is another class. :mod:`bam_mm.data.class_matching` matches classes by these names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bam_mm.errors import InputError, listing

FOLDERS = "class_folders"
"""Key in ``meta`` of a checkpoint under which class folders are stored if classes have words."""

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
    return ClassNames(f"the {part} data in {place}", len(namings[0]) if namings else None, namings)


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
    return next((names for names in map(names_of_list, found) if names), None)


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
    return names_of_list(found)


def folders_of(dataset: Any) -> Naming | None:
    """Return the class folders in the order of their labels, None if labels are not from folders.

    Args:
        dataset: Data set of mmpretrain, possibly in a wrapper.
    """
    numbers = getattr(unwrap(dataset), "folder_to_idx", None)
    if not numbers or sorted(numbers.values()) != list(range(len(numbers))):
        return None
    return tuple(sorted(numbers, key=numbers.__getitem__))


def choose_folders(folders: Sequence[str], names: Sequence[str], place: str) -> dict[str, int]:
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
    folders, words = names_of_list(folders), names_of_list(words)
    if words and len(words) == 1000 and words in _imagenet_words():
        # mmpretrain assigns these words to any 1,000 folders, in the order of the folders.
        if folders and folders != imagenet_folders():
            words = None
        folders = folders or imagenet_folders()
    return tuple(dict.fromkeys(names for names in (folders, words) if names))


def _imagenet_words() -> tuple[Naming, ...]:
    from mmpretrain.datasets.categories import IMAGENET_CATEGORIES, IMAGENET_SIMPLE_CATEGORIES

    return tuple(IMAGENET_CATEGORIES), tuple(IMAGENET_SIMPLE_CATEGORIES)


def names_of_list(names: Any) -> Naming | None:
    """Return a list of names as text, None if it is something else."""
    if isinstance(names, (str, bytes, Mapping)) or not isinstance(names, Iterable):
        return None
    return tuple(str(name) for name in names)
