"""Images with the pixels that their annotation belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from bam_mm.data.map_files import read_map_file
from bam_mm.data.orientation import (
    AUTO,
    CHOICES,
    UPRIGHT,
    Header,
    Size,
    choose_pixels,
    mismatch,
    read_header,
    turn,
)
from bam_mm.errors import InputError
from bam_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MatchAnnotation(BaseTransform):
    """Turn a loaded image to the pixels that its annotation belongs to, and compare their sizes.

    It follows ``LoadImageFromFile``, which turns photographs upright according to Exif. Boxes,
    polygons and maps may belong to the pixels as stored. Where only one of the two has the size of
    the annotation (the map's, or ``width`` and ``height`` of a COCO file), that one is used.

    Args:
        orientation: What the annotation belongs to where sizes do not tell (half turns, mirrored
            and square images): ``stored`` for the pixels as stored, ``upright`` for those after
            their rotation, ``auto`` to stop at such an image.

    Raises:
        InputError: If ``orientation`` is none of these.
    """

    def __init__(self, orientation: str = AUTO) -> None:
        if orientation not in CHOICES:
            raise InputError(f"orientation={orientation!r}: choose one of {', '.join(CHOICES)}")
        self.orientation = orientation

    def transform(self, results: dict) -> dict:
        """Turn ``results['img']`` if necessary.

        Images without an annotation (those of the inferencers) and without a local file pass
        unchanged.

        Raises:
            InputError: If the annotation has another size than the image, or its size does not tell
                which pixels it belongs to and ``orientation`` is ``auto``.
        """
        path = results.get("img_path")
        if not path or "://" in str(path) or not has_annotation(results):
            return results
        header = read_header(path)
        image = results["img"]
        if header is None or header.orientation == 1:
            annotated, source = annotation_size(results, maps=False)
            if annotated is not None and annotated != image.shape[:2]:
                raise InputError(mismatch(image.shape[:2], annotated, path=path, source=source))
            return results
        results["img"] = image = turned(image, header, path, self.pixels(header, results))
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def pixels(self, header: Header, info: dict) -> str:
        """Decide which pixels of an image its annotation belongs to.

        Args:
            header: Header of the image file.
            info: Entry of the data set.

        Returns:
            ``stored`` or ``upright``.

        Raises:
            InputError: See :func:`~bam_mm.data.orientation.choose_pixels`.
        """
        annotated, source = annotation_size(info)
        return choose_pixels(
            header, annotated, self.orientation, path=str(info["img_path"]), source=source
        )


def has_annotation(info: dict) -> bool:
    """Return whether an entry of a data set has boxes, a size or a map."""
    return any(info.get(key) is not None for key in ("instances", "height", "seg_map_path"))


def annotation_size(info: dict, *, maps: bool = True) -> tuple[Size | None, str]:
    """Return the size of the pixels that an annotation was made for.

    Args:
        info: Entry of a data set of mmdet (``height``, ``width``) or mmseg (``seg_map_path``).
        maps: Whether to read the headers of maps.

    Returns:
        (H, W), None if it is unknown, and the name of the annotation for messages.
    """
    if info.get("height") is not None and info.get("width") is not None:
        size = (int(info["height"]), int(info["width"]))
        return size, "its entry in the annotation file (height and width)"
    if info.get("seg_map_path") is None:
        return None, "its annotation"
    path = info["seg_map_path"]
    return map_size(path) if maps else None, f"its map {path}"


def map_size(path: str) -> Size:
    """Return (H, W) of a map, from its header alone if that can be read.

    Raises:
        InputError: If the map cannot be read.
    """
    header = read_header(path)
    height, width = read_map_file(path).shape if header is None else header.stored
    return height, width


def as_evaluated(image: np.ndarray, path: str, shape: Size, steps: Mapping[str, Any]) -> np.ndarray:
    """Turn an upright image to the pixels that a pipeline has evaluated.

    Args:
        image: Upright image (H, W, 3).
        path: Path of its file.
        shape: (H, W) of the evaluated image, before resizing.
        steps: Transforms of the pipeline by name; without a ``MatchAnnotation``, nothing is turned.
    """
    matching, header = steps.get("MatchAnnotation"), read_header(path)
    if matching is None or header is None or header.orientation == 1:
        return image
    info = dict(img_path=path, height=shape[0], width=shape[1])
    return turned(image, header, path, matching.pixels(header, info))


def steps_of(dataset: Any) -> dict[str, Any]:
    """Return the transforms of a data set's pipeline by their names."""
    transforms = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    return {type(transform).__name__: transform for transform in transforms}


def turned(image: np.ndarray, header: Header, path: str, pixels: str) -> np.ndarray:
    """Turn a loaded image to its stored or its upright pixels, whichever of them it is.

    Args:
        image: Image (H, W) or (H, W, C) that a loader returned.
        header: Header of its file, with an Exif orientation other than 1.
        path: Path of its file.
        pixels: ``stored`` or ``upright``.

    Returns:
        The image with these pixels.

    Raises:
        InputError: If it does not tell what the loader did.
    """
    if header.stored != header.upright:
        # The sides tell what the loader did.
        is_upright = image.shape[:2] == header.upright
    elif header.format == "TIFF":
        raise InputError(
            f"{path} is a TIFF file with Exif orientation {header.orientation}, which loaders "
            "treat differently: save it upright, without this tag"
        )
    else:
        image, is_upright = _stored_pixels(path, like=image), False
    if is_upright == (pixels == UPRIGHT):
        return image
    return turn(image, header.orientation, back=is_upright)


def _stored_pixels(path: str, *, like: np.ndarray) -> np.ndarray:
    flag = "color_ignore_orientation" if like.ndim == 3 else "grayscale_ignore_orientation"
    image: Any = mmcv.imfrombytes(Path(path).read_bytes(), flag=flag, backend="cv2")
    return image.astype(like.dtype)
