"""Checks that detection and segmentation data fit the model, before a long run starts.

The data sets are those of mmdet and mmseg, unchanged. These checks report what such data sets leave
out silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from bam_mm.data.checks.annotated_pixels import check_annotated_pixels, leaves
from bam_mm.data.checks.map_folders import loader_key
from bam_mm.data.checks.zero_label import check_same_zero
from bam_mm.data.map_labels import IGNORED, check_map
from bam_mm.data.match_annotation import steps_of
from bam_mm.errors import InputError, listing

__all__ = ["IGNORED", "check_dense_data", "check_files", "check_heads", "check_map"]

_CHECKED: WeakKeyDictionary = WeakKeyDictionary()
"""Parts of data sets that passed: our tools check before the hook of the config does."""


def check_dense_data(model: nn.Module, dataset, part: str) -> None:
    """Check a data set of mmdet or mmseg against the model's heads, and that its files exist.

    Args:
        model: Model of mmdet or mmseg.
        dataset: ``CocoDataset``, ``BaseSegDataset`` or a similar data set, possibly wrapped
            (``.dataset``). A data set without class names is not checked, unless it has maps.
        part: ``train``, ``val`` or ``test``, for messages.

    Raises:
        InputError: If there are maps without class names, a head has another number of classes, the
            data set is empty, an image or a map is missing, or images and annotation do not fit
            (see :mod:`bam_mm.data.checks.annotated_pixels`).
    """
    for leaf in leaves(dataset):
        classes = (getattr(leaf, "metainfo", None) or {}).get("classes")
        if classes is not None:
            check_is_list(classes)
            check_heads(model, classes, leaf, part)
            tell_classes(leaf, len(classes))
            if part not in _CHECKED.get(leaf, ()):
                _check_leaf(leaf, classes, part)
                _CHECKED.setdefault(leaf, set()).add(part)
        elif hasattr(leaf, "reduce_zero_label"):
            raise InputError(
                f"the {part} maps in {leaf.data_root} have no names of classes: set "
                f"{loader_key(part)}.dataset.metainfo.classes, in the order of their ids"
            )


def check_is_list(classes: Any) -> None:
    """Check that the names of the classes are a list.

    Raises:
        InputError: If they are one text, which the libraries read letter by letter.
    """
    if isinstance(classes, str):
        raise InputError(
            f"metainfo.classes={classes!r} is a text and no file, which would be read letter by "
            f'letter: set a list of names, as in metainfo.classes="[{classes}]", or the path of a '
            "file with one name on each line"
        )


def check_same_maps(data: Mapping[str, Any]) -> None:
    """Check that the parts of one folder agree on whether 0 is a class in their maps.

    Args:
        data: Data set of each part (``train``, ``val``, ``test``), possibly wrapped.

    Raises:
        InputError: If they differ.
    """
    check_same_zero(
        (part, leaf.data_root, leaf.reduce_zero_label)
        for part, dataset in data.items()
        for leaf in leaves(dataset)
        if hasattr(leaf, "reduce_zero_label")
    )


def tell_classes(dataset, number: int) -> None:
    """Let the transforms that check maps know the number of classes, whatever the pipeline says."""
    for name, step in steps_of(dataset).items():
        if name in ("LoadSemanticMap", "CheckSemanticMap"):
            step.num_classes = number


def _check_leaf(dataset, classes: Sequence[str], part: str) -> None:
    if not len(dataset):
        raise InputError(
            f"the {part} data in {dataset.data_root} has no image with an annotation: check "
            f"{loader_key(part)}.dataset (ann_file, data_prefix, filter_cfg)"
        )
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    for key, what in (("img_path", "images"), ("seg_map_path", "maps")):
        paths = [Path(info[key]) for info in infos if info.get(key)]
        check_files(paths, dataset, part, what)
    check_annotated_pixels(dataset, len(classes), part)


def check_heads(model: nn.Module, classes: Sequence[str], dataset, part: str) -> None:
    """Check that every head has as many classes as the data.

    Args:
        model: Model whose heads to check.
        classes: Names of the data's classes.
        dataset: Data set with ``data_root``, for the message.
        part: ``train``, ``val`` or ``test``, for the message.

    Raises:
        InputError: If a head has another number of classes.
    """
    for name, module in model.named_modules():
        number = getattr(module, "num_classes", None)
        # A region proposal network has one class for any data.
        exempt = not name or name.startswith(("backbone", "rpn_head"))
        if exempt or not isinstance(number, int):
            continue
        if number != len(classes):
            raise InputError(
                f"model.{name} has {number} classes, but the {part} data in {dataset.data_root} "
                f"has {len(classes)} ({listing(classes)}): set --cfg-options "
                f"num_classes={len(classes)}, or set the names of the data's classes in "
                f"{loader_key(part)}.dataset.metainfo.classes"
            )


def check_files(paths: Sequence[Path], dataset, part: str, what: str) -> None:
    """Check that files exist, with one listing per folder.

    Args:
        paths: Paths of the files.
        dataset: Data set that the files belong to, for the message.
        part: ``train``, ``val`` or ``test``, for the message.
        what: Kind of the files, such as ``images``, for the message.

    Raises:
        InputError: If a file does not exist.
    """
    folders = {path.parent for path in paths}
    existing = {p for folder in folders if folder.is_dir() for p in folder.iterdir()}
    missing = [path for path in paths if path not in existing]
    if missing:
        source = getattr(dataset, "ann_file", "") or (
            f"the images in {getattr(dataset, 'data_root', type(dataset).__name__)}"
        )
        raise InputError(
            f"{len(missing)} of {len(paths)} {what} of {source} are missing, the first: "
            f"{missing[0]}; restore them, or correct {loader_key(part)}.dataset.data_prefix"
        )
