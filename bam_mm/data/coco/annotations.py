"""Annotations of a COCO file: every field that mmdet and pycocotools read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from bam_mm.data.coco.boxes import TOLERANCE, overlaps, repaired_box
from bam_mm.data.coco.conventions import name_of
from bam_mm.data.coco.identifiers import References
from bam_mm.data.coco.images import Size
from bam_mm.data.coco.masks import area_of, bounds_of, is_sound, usable_mask
from bam_mm.data.coco.notes import Notes
from bam_mm.data.coco.numbers import finite_number
from bam_mm.errors import InputError

_LARGEST_AREA = 1e10
"""The evaluator leaves out larger objects."""


@dataclass
class Maskless:
    """Annotations without a usable mask.

    Attributes:
        number: Number of them.
        first: Description of the first, with the reason; empty if there is none.
    """

    number: int = 0
    first: str = ""

    def add(self, description: str) -> None:
        """Count one more."""
        self.first = self.first or description
        self.number += 1


@dataclass
class AnnotationCounts:
    """Counts over the annotations of a file.

    Attributes:
        all: Annotations without a usable mask, for the evaluation.
        trained: Those of them that mmdet trains on.
        left_out: Annotations that mmdet silently leaves out of training.
    """

    all: Maskless
    trained: Maskless
    left_out: int = 0


def check_annotations(
    content: dict[str, Any], sizes: Mapping[Any, Size], place: str, notes: Notes
) -> AnnotationCounts:
    """Check the annotations of a file, and change them in place where one reading is possible.

    Args:
        content: Content of the file, with checked images and categories.
        sizes: Size of each image by its id.
        place: Path of the file, for messages.
        notes: Notes to add to.

    Returns:
        The counts.

    Raises:
        InputError: If an annotation lacks what nothing else in the file tells, or has a value with
            more than one reading.
    """
    annotations: list[dict] = content["annotations"]
    categories = {entry["id"] for entry in content["categories"]}
    repair = _Repair(sizes, categories, place, notes)
    strays = []
    for index, annotation in enumerate(annotations):
        try:
            if _is_sound(annotation, sizes, categories):
                continue
        except (KeyError, TypeError, ValueError, OverflowError):
            pass
        if not repair(annotation, index):
            strays.append(index)
    repair.check_categories(len(annotations))
    _remove_strays(content, strays, place, notes)
    _number(content["annotations"], notes)
    counts = repair.counts
    if annotations and counts.left_out >= len(annotations) - len(strays):
        raise InputError(
            f"{place} has {counts.left_out:,} annotations, none of them with a box inside its "
            "image that has an area: export the annotations again"
        )
    notes.add(
        "annotations",
        "that training leaves out (ignored, outside the image or smaller than a pixel)",
        counts.left_out,
    )
    return counts


def _is_sound(annotation: dict, sizes: Mapping[Any, Size], categories: Collection[Any]) -> bool:
    """Return whether an annotation needs no closer look; nearly all of a file do not."""
    size = sizes[annotation["image_id"]]
    x, y, width, height = annotation["bbox"]
    return (
        annotation["category_id"] in categories
        and width >= 1
        and height >= 1
        and x >= -TOLERANCE
        and y >= -TOLERANCE
        and x + width <= size[0] + TOLERANCE
        and y + height <= size[1] + TOLERANCE
        and 0 < annotation["area"] < _LARGEST_AREA
        and annotation["iscrowd"] in (0, 1)
        and not annotation.get("ignore")
        and is_sound(annotation["segmentation"], size)
    )


class _Repair:
    """Repair annotations one by one, and count what was repaired."""

    def __init__(
        self, sizes: Mapping[Any, Size], categories: Collection[Any], place: str, notes: Notes
    ) -> None:
        self.sizes, self.place, self.notes = sizes, place, notes
        self.images, self.categories = References(list(sizes)), References(list(categories))
        self.counts = AnnotationCounts(Maskless(), Maskless())
        self.unknown: list[str] = []

    def __call__(self, annotation: dict, index: int) -> bool:
        """Repair an annotation in place; return False if its image is not in the file."""
        name = f"{name_of(annotation, index)} in {self.place}"
        if not self._refer(annotation, name):
            return False
        size = self.sizes[annotation["image_id"]]
        reason = self._set_mask(annotation, size)
        self._set_box(annotation, name, size)
        self._set_area(annotation, size)
        self._set_crowd(annotation, name)
        left_out = _is_left_out(annotation, size)
        self.counts.left_out += left_out
        if reason:
            self.counts.all.add(f"{name}: {reason}")
            if not left_out:
                self.counts.trained.add(f"{name}: {reason}")
        return True

    def check_categories(self, number: int) -> None:
        """Check that every annotation had a category of the file, of ``number`` annotations."""
        if self.unknown:
            raise InputError(
                f"{len(self.unknown):,} of {number:,} annotations in {self.place} have a category "
                f"that the file does not list (the first: {self.unknown[0]}): add it to "
                "categories, or remove these annotations"
            )

    def _refer(self, annotation: dict, name: str) -> bool:
        for key in ("image_id", "category_id"):
            if annotation.get(key) is None:
                raise InputError(f"{name} has no {key}: write that of its {key[:-3]}")
        image = self.images.find(annotation["image_id"])
        if image is None:
            return False
        category = self.categories.find(annotation["category_id"])
        if category is None:
            shown = f"category_id {annotation['category_id']!r:.80}"
            self.unknown.append(f"{name.removesuffix(f' in {self.place}')} with {shown}")
        written = annotation["image_id"], annotation["category_id"]
        if written != (image, category):
            self.notes.add("annotations", "that refer to an id in another type")
        annotation["image_id"], annotation["category_id"] = image, category
        return True

    def _set_mask(self, annotation: dict, size: Size) -> str:
        """Set or remove the mask; return why it was removed, or an empty text."""
        mask, reason = usable_mask(annotation.get("segmentation"), size)
        if mask is None:
            annotation.pop("segmentation", None)
            return reason
        if mask is not annotation["segmentation"]:
            self.notes.add("annotations", "with a mask in another notation (same pixels)")
            annotation["segmentation"] = mask
        return ""

    def _set_box(self, annotation: dict, name: str, size: Size) -> None:
        mask = annotation.get("segmentation")
        bounds = None if mask is None else bounds_of(mask, size)
        box, text = repaired_box(annotation.get("bbox"), bounds, size)
        if box is None:
            raise InputError(
                f"{name} has bbox {annotation.get('bbox')!r:.80} and no mask to take the box from: "
                "write x, y, width and height in pixels"
            )
        if text:
            self.notes.add("annotations", text)
        annotation["bbox"] = box

    def _set_area(self, annotation: dict, size: Size) -> None:
        written = annotation.get("area")
        area = finite_number(written)
        if area is None or not 0 < area < _LARGEST_AREA:
            mask = annotation.get("segmentation")
            in_mask = 0 if mask is None else area_of(mask, size)
            area = in_mask or annotation["bbox"][2] * annotation["bbox"][3]
        if area != written or isinstance(written, bool):
            annotation["area"] = area
            text = "without an area (that of the mask, else of the box)"
            self.notes.add("annotations", text)

    def _set_crowd(self, annotation: dict, name: str) -> None:
        written = annotation.get("iscrowd")
        crowd = 0.0 if written is None else finite_number(written)
        crowd = int(written) if isinstance(written, bool) else crowd
        if crowd not in (0, 1):
            raise InputError(
                f"{name} has iscrowd {written!r:.80}: write 0 for an object, 1 for a crowd"
            )
        if written != crowd:
            self.notes.add("annotations", "without iscrowd (0, an object)")
        annotation["iscrowd"] = int(crowd)


def _is_left_out(annotation: dict, size: Size) -> bool:
    """Return whether mmdet leaves an annotation out of training, as its CocoDataset does."""
    box = annotation["bbox"]
    small = min(box[2:]) < 1 or annotation["area"] <= 0
    return bool(annotation.get("ignore")) or small or not overlaps(box, size)


def _remove_strays(content: dict, strays: list[int], place: str, notes: Notes) -> None:
    annotations: list[dict] = content["annotations"]
    if not strays:
        return
    first = annotations[strays[0]]
    if len(strays) == len(annotations):
        raise InputError(
            f"none of the {len(annotations):,} annotations in {place} refers to one of its images "
            f"({name_of(first, strays[0])} has image_id {first['image_id']!r:.80}, the first image "
            f"{content['images'][0]['id']!r:.80}): correct the ids"
        )
    removed = set(strays)
    content["annotations"] = [a for i, a in enumerate(annotations) if i not in removed]
    notes.add("annotations", "of images that the file does not list (left out)", len(strays))


def _number(annotations: list[dict], notes: Notes) -> None:
    """Number annotations from 1 unless their ids are distinct integers other than 0.

    The evaluator takes an object with id 0 for one that was not found.
    """
    ids = [annotation.get("id") for annotation in annotations]
    sound = all(type(each) is int and each and abs(each) < 2**63 for each in ids)
    if sound and len(set(ids)) == len(ids):
        return
    for number, annotation in enumerate(annotations, 1):
        annotation["id"] = number
    notes.add("annotations", "numbered anew (ids missing, repeated or 0)", len(ids))
