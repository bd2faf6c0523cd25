"""Checks that detection and segmentation data fit the model, before a long run starts.

The data sets are those of mmdet and mmseg, unchanged. These checks report what such data sets leave
out silently.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from bam_mm.data.checks.annotated_pixels import check_annotated_pixels, leaves
from bam_mm.data.map_labels import IGNORED, check_map
from bam_mm.errors import InputError, listing

__all__ = ["IGNORED", "check_categories", "check_dense_data", "check_files", "check_heads"]
__all__ += ["check_map", "read_categories"]


def check_dense_data(model: nn.Module, dataset, part: str) -> None:
    """Check a data set of mmdet or mmseg against the model's heads, and that its files exist.

    Args:
        model: Model of mmdet or mmseg.
        dataset: ``CocoDataset``, ``BaseSegDataset`` or a similar data set, possibly wrapped
            (``.dataset``). A data set without class names is not checked.
        part: ``train``, ``val`` or ``test``, for messages.

    Raises:
        InputError: If a head has another number of classes, the data set is empty, an image or a
            map is missing, or images and annotation do not fit (see
            :mod:`bam_mm.data.checks.annotated_pixels`).
    """
    for leaf in leaves(dataset):
        classes = (getattr(leaf, "metainfo", None) or {}).get("classes")
        if classes is not None:
            _check_leaf(model, leaf, classes, part)


def _check_leaf(model: nn.Module, dataset, classes: Sequence[str], part: str) -> None:
    check_heads(model, classes, dataset, part)
    if not len(dataset):
        raise InputError(
            f"the {part} data in {dataset.data_root} has no image with an annotation: check "
            f"{part}_dataloader.dataset (ann_file, data_prefix, filter_cfg)"
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
                f"{part}_dataloader.dataset.metainfo.classes"
            )


def check_categories(classes: Sequence[str], ann_file: str, part: str) -> None:
    """Check that the classes of a data set are categories of its instance file, in the same order.

    mmdet silently drops a class that the file lacks, and numbers the other classes without it.

    Args:
        classes: Names of the data set's classes.
        ann_file: Path of the COCO instance JSON file.
        part: ``train``, ``val`` or ``test``, for messages.

    Raises:
        InputError: If a class is missing from the file, or the order differs.
    """
    names = read_categories(ann_file)
    missing = [name for name in classes if name not in names]
    if missing:
        raise InputError(
            f"{ann_file} has {len(names)} categories ({listing(names)}), and {len(missing)} of the "
            f"{len(classes)} classes of the {part} data are not among them ({listing(missing)}): "
            f'set --cfg-options metainfo.classes="[{",".join(names[:2])},...]" '
            f"num_classes={len(names)}, or set data_root to the data that the head is meant for"
        )
    order = [name for name in names if name in set(classes)]
    if order != list(classes):
        raise InputError(
            f"{ann_file} lists its categories as {listing(order)}, but {part}_dataloader.dataset."
            f"metainfo.classes lists them as {listing(classes)}: use the order of the file, which "
            "the labels follow"
        )


def read_categories(ann_file: str) -> list[str]:
    """Read the category names of an instance file by ascending id, without parsing all of it.

    Raises:
        InputError: If the file has no categories.
    """
    try:
        with (
            Path(ann_file).open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            place = data.rfind(b'"categories"')
            start = data.find(b"[", place)
            text = data[start:].decode() if place >= 0 and start >= 0 else ""
        found, _ = json.JSONDecoder().raw_decode(text)
        return [entry["name"] for entry in sorted(found, key=lambda entry: entry["id"])]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{ann_file} has no categories with ids and names: provide a COCO instance JSON file"
        ) from error


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
        source = getattr(dataset, "ann_file", "") or f"the images in {dataset.data_root}"
        raise InputError(
            f"{len(missing)} of {len(paths)} {what} of {source} are missing, the first: "
            f"{missing[0]}; restore them, or correct {part}_dataloader.dataset.data_prefix"
        )
