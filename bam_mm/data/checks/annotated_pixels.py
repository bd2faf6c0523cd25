"""Check at the start of a run that images and their annotation belong together.

It reads the headers of a sample of files and the ids of fewer maps; ``bam-mm check-data NAME FOLDER
--deep`` reads all of them. Every process of a run reads the same files, so all decide alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from bam_mm.data.checks.sampled_maps import (
    all_or_first_fault,
    check_sampled_maps,
    evenly_spaced,
)
from bam_mm.data.loading import decode_image
from bam_mm.data.match_annotation import MatchAnnotation, has_annotation, steps_of
from bam_mm.data.orientation import STORED, UPRIGHT, Header, is_published, read_header
from bam_mm.errors import InputError

SAMPLE = 32
"""Number of images whose headers are read."""


def check_annotated_pixels(dataset: Any, classes: int, part: str) -> None:
    """Check a sample of a data set of mmdet or mmseg, evenly spaced.

    Args:
        dataset: ``CocoDataset``, ``BaseSegDataset`` or a similar data set, unwrapped. Those whose
            pipelines do not load images by the libraries' transforms are not checked.
        classes: Number of classes of the data.
        part: ``train``, ``val`` or ``test``, for messages.

    Raises:
        InputError: If an image and its annotation have other sizes, do not tell which pixels they
            share, or a map is none that the pipeline reads correctly.
    """
    steps = steps_of(dataset)
    if not len(dataset) or loader_of(steps) is None:
        return
    infos = [dataset.get_data_info(index) for index in evenly_spaced(len(dataset), SAMPLE)]
    infos = [info for info in infos if _is_local(info)]
    settle_official(dataset, infos, steps.get("MatchAnnotation"))
    read = all_or_first_fault(
        infos, partial(pixels_of, steps=steps), f"{part} images or annotations"
    )
    if STORED in read:
        print_log(
            f"{read.count(STORED)} of {len(read)} checked {part} images are read as stored: their "
            "annotation belongs to the pixels before the turn that Exif names",
            logger="current",
        )
    maps = steps.get("LoadSemanticMap") or steps.get("LoadAnnotations")
    if maps is not None:
        check_sampled_maps(dataset, maps, classes, part)


def leaves(dataset: Any) -> Iterator[Any]:
    """Yield the data sets of files inside wrappers and concatenations."""
    if hasattr(dataset, "datasets"):
        for part in dataset.datasets:
            yield from leaves(part)
    elif hasattr(dataset, "dataset"):
        yield from leaves(dataset.dataset)
    else:
        yield dataset


def loader_of(steps: dict[str, Any]) -> Any:
    """Return the transform that loads images, None if it is not one of the libraries'."""
    return steps.get("LoadImageFromFile") or steps.get("LoadImage")


def pixels_of(info: dict, steps: dict[str, Any]) -> str:
    """Return which pixels of an image a pipeline takes: ``upright``, or ``stored`` if they differ.

    Args:
        info: Entry of a data set.
        steps: Transforms of its pipeline, by name.

    Raises:
        InputError: If the image cannot be read, or its annotation belongs to other pixels.
    """
    path = str(info["img_path"])
    header = read_header(path)
    if header is None:
        decode_image(Path(path).read_bytes(), path, "replace the file, or remove it")
    if header is None or not has_annotation(info):
        return UPRIGHT
    if matching := steps.get("MatchAnnotation"):
        found = matching.pixels(header, info)
    else:
        found = _pixels_as_loaded(header, info, steps)
    return UPRIGHT if header.orientation == 1 else found


def _pixels_as_loaded(header: Header, info: dict, steps: dict[str, Any]) -> str:
    """Return which pixels the library's loader returns, if its annotation belongs to them."""
    flag = getattr(loader_of(steps), "color_type", "color")
    loaded = STORED if flag == "unchanged" or flag.endswith("ignore_orientation") else UPRIGHT
    remedy = "put dict(type='bam_mm.MatchAnnotation') behind LoadImageFromFile in the pipelines"
    try:
        # Ignoring the orientation on purpose decides where sizes do not tell.
        fitting = MatchAnnotation(STORED if loaded == STORED else "auto").pixels(header, info)
    except InputError as error:
        text = str(error).partition(": set --cfg-options ")
        if not text[1]:
            raise
        raise InputError(
            f"{text[0]}: {remedy}, with orientation='stored' or orientation='upright'"
        ) from None
    if fitting != loaded and header.orientation != 1:
        raise InputError(
            f"the annotation of {info['img_path']} belongs to its {fitting} pixels, but the "
            f"pipeline loads the {loaded} ones (Exif orientation {header.orientation}): {remedy}"
        )
    return loaded


def settle_official(dataset: Any, infos: list[dict], matching: MatchAnnotation | None) -> None:
    """Read published data sets upright where sizes do not tell, as all published numbers do.

    Args:
        dataset: Data set, or a part of one, recognised by the names of its files.
        infos: Some of its entries.
        matching: Transform of its pipeline to set; None if there is none.
    """
    if matching is None or matching.orientation != "auto" or not infos:
        return
    file = getattr(dataset, "ann_file", "") or ""
    if all(is_published(info["img_path"], file) for info in infos):
        matching.orientation = UPRIGHT


def _is_local(info: dict) -> bool:
    path = str(info.get("img_path") or "")
    return bool(path) and "://" not in path and Path(path).is_file()
