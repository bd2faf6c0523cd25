"""Whether detection and segmentation data belong together with the model, before hours are spent.

Data sets are those of mmdet and mmseg, taken as they are: what they leave out silently is looked for
here.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from bam_mm.errors import InputError, listing

IGNORED = 255
"""Label of a pixel that does not count."""


def check_dense_data(model: nn.Module, dataset, part: str) -> None:
    """Check a data set of mmdet's or mmseg's against the model's heads, and that its files exist.

    Args:
        model: Of mmdet or mmseg.
        dataset: ``CocoDataset``, ``BaseSegDataset`` and their kin, possibly wrapped (``.dataset``);
            others are not looked at.
        part: ``train``, ``val`` or ``test``, for messages.

    Raises:
        InputError: If the classes are not as many as a head knows, or an image or a map is missing.
    """
    while not hasattr(dataset, "metainfo") and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
    if classes is None:
        return
    check_heads(model, classes, dataset, part)
    if not len(dataset):
        raise InputError(
            f"the {part} data in {dataset.data_root} has no image with an annotation: look at "
            f"{part}_dataloader.dataset (ann_file, data_prefix, filter_cfg)"
        )
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    for key, what in (("img_path", "images"), ("seg_map_path", "maps")):
        paths = [Path(info[key]) for info in infos if info.get(key)]
        check_files(paths, dataset, part, what)


def check_heads(model: nn.Module, classes: Sequence[str], dataset, part: str) -> None:
    """Check that every head has as many classes as the data.

    Raises:
        InputError: If one has not.
    """
    for name, module in model.named_modules():
        number = getattr(module, "num_classes", None)
        # A region proposal network knows one class, whatever the data.
        aside = not name or name.startswith(("backbone", "rpn_head"))
        if aside or not isinstance(number, int):
            continue
        if number != len(classes):
            raise InputError(
                f"model.{name} has {number} classes, but the {part} data in {dataset.data_root} "
                f"has {len(classes)} ({listing(classes)}): set --cfg-options "
                f"num_classes={len(classes)}, or give the data's own names in "
                f"{part}_dataloader.dataset.metainfo.classes"
            )


def check_categories(classes: Sequence[str], ann_file: str, part: str) -> None:
    """Check that the classes of an instance file are those of the data set, in their order.

    mmdet leaves a class that the file lacks without a word, and numbers the others anew.

    Raises:
        InputError: If they are not.
    """
    there = read_categories(ann_file)
    missing = [name for name in classes if name not in there]
    if missing:
        raise InputError(
            f"{ann_file} has {len(there)} categories ({listing(there)}), and {len(missing)} of the "
            f"{len(classes)} classes of the {part} data are not among them ({listing(missing)}): set "
            f'--cfg-options metainfo.classes="[{",".join(there[:2])},...]" '
            f"num_classes={len(there)}, or point data_root at the data that the head is meant for"
        )
    order = [name for name in there if name in set(classes)]
    if order != list(classes):
        raise InputError(
            f"{ann_file} numbers its categories as {listing(order)}, {part}_dataloader.dataset."
            f"metainfo.classes as {listing(classes)}: labels follow the file, so give them in its "
            "order"
        )


def read_categories(ann_file: str) -> list[str]:
    """Names of the categories of an instance file, by ascending id, without reading all of it.

    Raises:
        InputError: If it has none.
    """
    try:
        with Path(ann_file).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            place = data.rfind(b'"categories"')
            start = data.find(b"[", place)
            text = data[start:].decode() if place >= 0 and start >= 0 else ""
        found, _ = json.JSONDecoder().raw_decode(text)
        return [entry["name"] for entry in sorted(found, key=lambda entry: entry["id"])]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{ann_file} has no categories with ids and names: give COCO instance JSON"
        ) from error


def check_files(paths: Sequence[Path], dataset, part: str, what: str) -> None:
    """Check that files exist, a listing a folder.

    Raises:
        InputError: If one does not.
    """
    folders = {path.parent for path in paths}
    there = {p for folder in folders if folder.is_dir() for p in folder.iterdir()}
    missing = [path for path in paths if path not in there]
    if missing:
        source = getattr(dataset, "ann_file", "") or f"the images in {dataset.data_root}"
        raise InputError(
            f"{len(missing)} of {len(paths)} {what} of {source} are missing, the first: "
            f"{missing[0]}; restore them, or correct {part}_dataloader.dataset.data_prefix"
        )


def check_map(labels, num_classes: int, path: str, *, reduced: bool = False) -> None:
    """Check the labels of a semantic map.

    Args:
        labels: (H, W) integers.
        num_classes: That the head knows; :data:`IGNORED` is allowed besides.
        path: For the message.
        reduced: Whether the file counts from 1 and was brought to count from 0.

    Raises:
        InputError: If a label is beyond the classes.
    """
    beyond = labels[(labels >= num_classes) & (labels != IGNORED)]
    if beyond.size:
        value = int(beyond.max())
        raise InputError(
            f"{path} has label {value + reduced} in {beyond.size} pixels, the head knows "
            f"{int(reduced)} to {num_classes - 1 + reduced}"
            f"{' (0: unlabelled)' if reduced else ' (255: ignored)'}: set --cfg-options "
            f"num_classes={value + 1}, or correct the map"
        )
