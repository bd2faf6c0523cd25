"""mmdet's access to COCO files through the checked reader, for its data sets and its metric."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmdet.datasets import CocoDataset, Objects365V1Dataset, Objects365V2Dataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation.metrics import coco_metric
from mmengine.logging import print_log

from bam_mm.data.coco.class_names import check_class_names, plain_names
from bam_mm.data.coco.reader import InstanceFile, read_instances
from bam_mm.errors import listing

_CONVERTED = ".gt.json"
"""Ending of the file that mmdet's metric writes from a data set, if it has no annotation file."""


class CheckedCOCO(COCO):
    """mmdet's COCO interface to the content that :func:`read_instances` returns.

    Data set and metric each read the annotation file through this class, so that both see the same
    content. Categories come in the order of the names asked for: mmdet numbers labels by this
    order, and files of other exporters list the same classes in other orders. mmdet by itself takes
    the order of the file; where both differ, this is logged as a warning.

    Args:
        annotation_file: Path of the instance file; None for an empty interface.

    Raises:
        InputError: If the file has a fault, see :func:`read_instances`.
    """

    def __init__(self, annotation_file: str | None = None) -> None:
        # The converted file comes from a checked data set, and holds no names of images.
        if annotation_file is None or str(annotation_file).endswith(_CONVERTED):
            super().__init__(annotation_file)
            self.place = str(annotation_file)
            return
        super().__init__()
        self.place = str(annotation_file)
        found = _read_files.take(annotation_file)
        if found.notes and _read_files.is_new(annotation_file, "notes"):
            print_log(f"{annotation_file}: {found.notes}", logger="current")
        self.dataset = found.content
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(
        self,
        cat_names: Sequence[str] = (),
        sup_names: Sequence[str] = (),
        cat_ids: Sequence[Any] = (),
    ) -> list:
        """Return the ids of categories, those of names in the order of the names.

        Raises:
            InputError: If the file lacks a name, or the names are one text.
        """
        if not cat_names or sup_names or cat_ids:
            return super().get_cat_ids(cat_names, sup_names, cat_ids)
        ids = {entry["name"]: entry["id"] for entry in self.dataset["categories"]}
        check_class_names(cat_names, list(ids), self.place)
        names = plain_names(cat_names)
        asked = set(names)
        in_file = [name for name in ids if name in asked]
        if names != in_file and _read_files.is_new(self.place, "order"):
            _warn_of_order(self.place, names, in_file)
        return [ids[name] for name in names]

    def loadRes(self, resFile: Any) -> COCO:
        """Return an interface to predictions; none at all are as valid as any others.

        pycocotools looks at the first prediction to learn of what kind all are, and mmdet's metric
        returns no metric if that fails. Without a prediction, each object is missed: AP and recall
        are 0.

        Args:
            resFile: List of predictions, or what else pycocotools takes.
        """
        if not isinstance(resFile, list) or resFile:
            return super().loadRes(resFile)
        found = COCO()
        found.dataset = {
            "images": list(self.dataset["images"]),
            "categories": list(self.dataset["categories"]),
            "annotations": [],
        }
        found.createIndex()
        return found


def _warn_of_order(place: str, names: Sequence[str], in_file: Sequence[str]) -> None:
    print_log(
        f"{place} lists its categories in another order ({listing(in_file)}) than the classes of "
        f"the data set ({listing(names)}), and labels follow the classes. A checkpoint of plain "
        "mmdet numbers classes by the file, whatever it records: train it anew, or write the order "
        "of the file into metainfo.classes and into its dataset_meta",
        logger="current",
        level=logging.WARNING,
    )


class _ReadFiles:
    """Files that a check has read and that a data set takes over, so that each is parsed once."""

    def __init__(self) -> None:
        self._ready: dict[tuple, InstanceFile] = {}
        self._folders: dict[str, str] = {}
        self._reported: set[tuple[str, str]] = set()

    def read(self, path: str | Path, images: str | Path | None) -> InstanceFile:
        if images is not None:
            self._folders[os.path.abspath(path)] = str(images)
        found = read_instances(path, images)
        self._ready[_state(path)] = found
        return found

    def take(self, path: str | Path) -> InstanceFile:
        found = self._ready.pop(_state(path), None)
        if found is not None:
            return found
        return read_instances(path, self._folders.get(os.path.abspath(path)))

    def is_new(self, path: str | Path, what: str) -> bool:
        """Return whether something about a file was not asked before."""
        key = (os.path.abspath(path), what)
        known = key in self._reported
        self._reported.add(key)
        return not known


_read_files = _ReadFiles()


def _state(path: str | Path) -> tuple:
    """Return a key of a file that changes with its content."""
    found = os.stat(path) if os.path.exists(path) else None
    return (os.path.abspath(path), *((found.st_mtime_ns, found.st_size) if found else ()))


def read_ahead(path: str | Path, images: str | Path | None = None) -> InstanceFile:
    """Read a file that the next data set with this annotation file takes over.

    Args:
        path: Path of the instance file.
        images: Folder of its images. The metric reads missing sizes from there, too.

    Returns:
        The checked content, which must not be changed.

    Raises:
        InputError: If the file has a fault, see :func:`read_instances`.
    """
    return _read_files.read(path, images)


def install() -> None:
    """Let mmdet's ``CocoDataset``, classes derived from it and ``CocoMetric`` read checked files.

    Classes with an interface of their own, such as that of panoptic files, keep it.
    """
    for kind in (CocoDataset, Objects365V1Dataset, Objects365V2Dataset):
        if kind.COCOAPI is COCO:
            kind.COCOAPI = CheckedCOCO
    coco_metric.COCO = CheckedCOCO


def is_read_here(kind: Any) -> bool:
    """Return whether a class of data set reads its file as ``CocoDataset`` does, after install."""
    own = getattr(kind, "load_data_list", None) is CocoDataset.load_data_list
    return own and kind.COCOAPI is CheckedCOCO
