"""Reading a COCO instance file: checked content that mmdet and pycocotools read without a fault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bam_mm.data.coco.annotations import AnnotationCounts, check_annotations
from bam_mm.data.coco.categories import check_categories
from bam_mm.data.coco.conventions import SAMPLE, check_conventions
from bam_mm.data.coco.document import read_document
from bam_mm.data.coco.images import SizeOf, check_images, header_size
from bam_mm.data.coco.notes import Notes


@dataclass(frozen=True)
class InstanceFile:
    """Checked content of a COCO instance file.

    Attributes:
        content: ``images``, ``annotations``, ``categories`` and what else the file has.
        notes: What was changed or counted; false if the content is that of the file.
        counts: Annotations without masks, and those that training leaves out.
    """

    content: dict[str, Any]
    notes: Notes
    counts: AnnotationCounts


def read_instances(
    path: str | Path, images: str | Path | None = None, *, most: int = SAMPLE
) -> InstanceFile:
    """Read and check a COCO instance file.

    Args:
        path: Path of the file.
        images: Folder of its images, from which missing sizes are read; None if it is not known.
        most: Number of annotations from which the convention of coordinates is judged.

    Returns:
        The checked content. That of a sound file is exactly what the file holds.

    Raises:
        InputError: If the file cannot be read, or a value in it has no single reading.
    """
    size_of = None if images is None else header_size(images)
    return check_instances(read_document(path), str(path), size_of, most=most)


def check_instances(
    content: dict[str, Any], place: str, size_of: SizeOf | None = None, *, most: int = SAMPLE
) -> InstanceFile:
    """Check parsed content, and change it in place where one reading is possible.

    Args:
        content: Content, as returned by :func:`~bam_mm.data.coco.document.parse_document`.
        place: Path of the file, for messages.
        size_of: Function that returns the size of an image without ``width`` and ``height``.
        most: Number of annotations from which the convention of coordinates is judged.

    Returns:
        The checked content.

    Raises:
        InputError: If a value has no single reading.
    """
    notes = Notes()
    check_categories(content, place, notes)
    sizes = check_images(content, place, notes, size_of)
    check_conventions(content, sizes, place, most)
    counts = check_annotations(content, sizes, place, notes)
    return InstanceFile(content, notes, counts)
