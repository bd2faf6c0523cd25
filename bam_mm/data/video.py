"""A video with annotations, whose frames are read on demand and whose faults are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from bam_mm.data.loading import decode_image
from bam_mm.data.object_ids import VOID, IdRule, first_ids, next_ids
from bam_mm.data.orientation import read_header
from bam_mm.data.video_files import annotation_files, frame_files
from bam_mm.errors import InputError

_RESTORE = "restore the file from its source"


class FaultyVideo(InputError):
    """A fault of one video, which does not affect the others."""


@dataclass(frozen=True)
class Video:
    """A video as lists of files, which are read on demand.

    Attributes:
        name: Name of the sequence.
        index: Index of the video in the data set.
        frames: Paths of the T frames.
        annotations: Path of each frame's annotation, or None if it has no annotation.
        size: Height and width of every frame and annotation in pixels.
        scored: Whether there are annotations to score with.
        rule: How the pixels of the annotations become ids.
        notes: What differs from the layout of DAVIS-2017 and how it was read, for the log.
    """

    name: str
    index: int
    frames: tuple[str, ...]
    annotations: tuple[str | None, ...]
    size: tuple[int, int]
    scored: bool = True
    rule: IdRule = field(default_factory=IdRule)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frames)

    def frame(self, t: int) -> np.ndarray:
        """Read frame t.

        Returns:
            (H, W, 3) uint8 BGR image.

        Raises:
            FaultyVideo: If the frame cannot be read.
        """
        path = self.frames[t]
        try:
            image = decode_image(Path(path).read_bytes(), path, _RESTORE)
        except InputError as error:  # The message names the file and what is wrong with it.
            raise FaultyVideo(f"video {self.name}: frame {error}") from error
        except OSError as error:
            raise FaultyVideo(
                f"video {self.name}: frame {path} cannot be read ({error.strerror}): {_RESTORE}"
            ) from error
        if image.shape[:2] != self.size:
            raise FaultyVideo(
                f"video {self.name}: frame {path} is {image.shape[1]}x{image.shape[0]}, and was "
                f"{self.size[1]}x{self.size[0]} when the videos were listed: {_RESTORE}"
            )
        return image

    def annotation(self, t: int) -> np.ndarray:
        """Read the annotation of frame t, which must have one.

        Returns:
            (H, W) uint8 ids, in which 255 is void.

        Raises:
            FaultyVideo: If the annotation cannot be read.
        """
        path = cast(str, self.annotations[t])
        ids = read_ids(self.name, path, self.rule)[0]
        if ids.shape != self.size:
            raise FaultyVideo(
                f"video {self.name}: annotation {path} is {ids.shape[1]}x{ids.shape[0]}, but the "
                f"first frame is {self.size[1]}x{self.size[0]}; restore the file from its source"
            )
        return ids

    def palette(self) -> list[int]:
        """Return the colours of the ids, a flat list of red, green and blue per id."""
        return list(self.rule.palette)

    @property
    def annotated(self) -> list[int]:
        """Indices of the frames that have an annotation."""
        return [t for t, path in enumerate(self.annotations) if path is not None]

    def truth(self) -> np.ndarray:
        """Read all annotations of a scored video.

        Returns:
            (A, H, W) uint8 ids of the frames in :attr:`annotated`.
        """
        return np.stack([self.annotation(t) for t in self.annotated])


def read_ids(name: str, path: str | Path, rule: IdRule | None = None) -> tuple[np.ndarray, IdRule]:
    """Read an annotation.

    Args:
        name: Name of the video, for messages.
        path: Path of the annotation.
        rule: Rule of the first annotation; None for the first one itself.

    Returns:
        (H, W) uint8 ids, in which 255 is void, and the rule for further annotations.

    Raises:
        FaultyVideo: If the file cannot be read, or holds no ids.
    """
    try:
        return first_ids(path) if rule is None else (next_ids(path, rule), rule)
    except ValueError as error:  # The message names the file, the value and the remedy.
        raise FaultyVideo(f"video {name}: annotation {error}") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise FaultyVideo(
            f"video {name}: annotation {path} cannot be read ({error}); restore the file from its "
            "source"
        ) from error


def open_video(
    frames: Path, annotations: Path, *, name: str, index: int, scored: bool = True
) -> Video:
    """Find the files of a video and check their headers, without decoding every file.

    Args:
        frames: Folder of the frames.
        annotations: Folder of the annotations, PNG files with the names of the frames.
        name: Name of the sequence.
        index: Index of the video in the data set.
        scored: Whether the annotations are for scoring; otherwise only the first one is needed.

    Raises:
        FaultyVideo: If the folder or an annotation is missing, there are too few frames, sizes
            differ, a frame is to be turned, the first annotation holds no ids (see
            :func:`~bam_mm.data.object_ids.first_ids`) or shows no object.
    """
    if not frames.is_dir():
        raise FaultyVideo(
            f"video {name}: {frames} does not exist; unpack its frames there, or remove the name "
            "from the list"
        )
    paths, notes = frame_files(frames)
    needed = 3 if scored else 2
    if len(paths) < needed:
        why = ", as the first and the last are not scored" if scored else ""
        raise FaultyVideo(
            f"video {name}: {len(paths)} frame{'s' * (len(paths) != 1)} in {frames}, but {needed} "
            f"are needed{why}; add frames, or remove the name from the list"
        )
    masks, more = annotation_files(annotations, paths)
    if masks[0] is None:
        raise FaultyVideo(
            f"video {name}: the first annotation {annotations / paths[0].stem}.png is missing, so "
            "no object is known; add an indexed PNG that shows every object in the first frame"
        )
    if scored:
        more += _check_coverage(name, paths, masks, annotations)
    kept = masks if scored else [masks[0], *[None] * (len(masks) - 1)]
    size = check_sizes(name, paths, [mask for mask in kept if mask is not None])
    ids, rule = read_ids(name, masks[0])
    if not set(np.unique(ids)) - {0, VOID}:
        raise FaultyVideo(
            f"video {name}: the first annotation {masks[0]} shows no object; start the video at a "
            "frame whose annotation shows every object"
        )
    return Video(
        name=name,
        index=index,
        frames=tuple(map(str, paths)),
        annotations=tuple(None if mask is None else str(mask) for mask in kept),
        size=size,
        scored=scored,
        rule=rule,
        notes=(*notes, *more, *filter(None, [rule.note])),
    )


def _check_coverage(
    name: str, frames: Sequence[Path], masks: Sequence[Path | None], folder: Path
) -> list[str]:
    """Check that all frames have an annotation, or every n-th one from the first on."""
    found = [t for t, mask in enumerate(masks) if mask is not None]
    missing = [t for t, mask in enumerate(masks) if mask is None]
    if not missing:
        return []
    steps = set(np.diff(found).tolist())
    regular = len(found) >= 3 and len(steps) == 1 and len(masks) - 1 - found[-1] < min(steps)
    if regular and min(steps) > 1:
        return [f"annotated in one of {min(steps)} frames, and scored in these"]
    raise FaultyVideo(
        f"video {name}: {len(missing)} of {len(masks)} frames have no annotation, the first "
        f"{folder / frames[missing[0]].stem}.png; add them, or propagate without scores "
        "(test_dataloader.dataset.annotated=first)"
    )


def check_sizes(name: str, frames: Sequence[Path], masks: Sequence[Path]) -> tuple[int, int]:
    """Check by their headers that frames and annotations have one size.

    Args:
        name: Name of the video, for messages.
        frames: Paths of the frames, at least one.
        masks: Paths of annotations.

    Returns:
        Height and width in pixels.

    Raises:
        FaultyVideo: If a file is no image, is to be turned, or has another size.
    """
    first: tuple[int, int] | None = None
    for path in (*frames, *masks):
        header = read_header(path)
        if header is None:
            raise FaultyVideo(
                f"video {name}: {path} is not a readable image ({_bytes(path)} bytes); restore the "
                "file from its source"
            )
        if header.orientation != 1:
            raise FaultyVideo(
                f"video {name}: {path} has the Exif orientation {header.orientation}, so that "
                "frames and annotations may be turned against each other; save the frames upright, "
                "without it"
            )
        height, width = header.stored
        first = first or (height, width)
        if (height, width) != first:
            kind = "annotation" if path in masks else "frame"
            raise FaultyVideo(
                f"video {name}: {kind} {path} is {width}x{height}, but the first frame is "
                f"{first[1]}x{first[0]}; resize "
                + (
                    "annotations to the size of their frames with nearest-neighbour interpolation"
                    if kind == "annotation"
                    else "all frames to one size"
                )
            )
    assert first is not None  # there is at least one frame
    return first


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
