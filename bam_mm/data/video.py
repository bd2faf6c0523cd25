"""A video with annotations, whose frames are read on demand and whose faults are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, UnidentifiedImageError

from bam_mm.data.indexed_png import check_indexed, read_indexed
from bam_mm.data.loading import decode_image
from bam_mm.errors import InputError

FRAME_ENDINGS = (".jpg", ".jpeg", ".png")


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
        scored: Whether every frame has an annotation to score with.
    """

    name: str
    index: int
    frames: tuple[str, ...]
    annotations: tuple[str | None, ...]
    size: tuple[int, int]
    scored: bool = True

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
            image = decode_image(Path(path).read_bytes(), path)
        except (OSError, InputError) as error:
            raise FaultyVideo(
                f"video {self.name}: frame {path} is missing, empty, truncated or not an image; "
                "restore the file from its source"
            ) from error
        if image.shape[:2] != self.size:
            # OpenCV applies the EXIF orientation, but the size in the header does not include it.
            raise FaultyVideo(
                f"video {self.name}: frame {path} is rotated by its EXIF orientation to "
                f"{image.shape[1]}x{image.shape[0]}; save the frames upright, without it"
            )
        return image

    def annotation(self, t: int) -> np.ndarray:
        """Read the annotation of frame t, which must have one.

        Returns:
            (H, W) uint8 ids.

        Raises:
            FaultyVideo: If the annotation cannot be read.
        """
        return self._indexed(t)[0]

    def palette(self) -> list[int]:
        """Return the palette of the first annotation, a flat list of red, green and blue per id."""
        return self._indexed(0)[1]

    def truth(self) -> np.ndarray:
        """Read all annotations of a scored video.

        Returns:
            (T, H, W) uint8 ids.
        """
        return np.stack([self.annotation(t) for t in range(len(self))])

    def _indexed(self, t: int) -> tuple[np.ndarray, list[int]]:
        path = cast(str, self.annotations[t])
        try:
            return read_indexed(path)
        except (OSError, ValueError, SyntaxError) as error:
            raise FaultyVideo(
                f"video {self.name}: annotation {path} cannot be read ({error}); restore the file "
                "from its source"
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
        scored: Whether every frame needs an annotation; otherwise only the first one does.

    Raises:
        FaultyVideo: If the folder or an annotation is missing, there are too few frames, sizes
            differ, an annotation has no palette, or the first annotation shows no object.
    """
    if not frames.is_dir():
        raise FaultyVideo(
            f"video {name}: {frames} does not exist; unpack its frames there, or remove the name "
            "from the list"
        )
    paths = _in_order(p for p in frames.iterdir() if p.suffix.lower() in FRAME_ENDINGS)
    needed = 3 if scored else 2
    if len(paths) < needed:
        why = ", as the first and the last are not scored" if scored else ""
        raise FaultyVideo(
            f"video {name}: {len(paths)} frame{'s' * (len(paths) != 1)} in {frames}, but {needed} "
            f"are needed{why}; add frames, or remove the name from the list"
        )
    masks = [annotations / f"{path.stem}.png" for path in paths]
    if not masks[0].is_file():
        raise FaultyVideo(
            f"video {name}: the first annotation {masks[0]} is missing, so no object is known; add "
            "an indexed PNG that shows every object in the first frame"
        )
    missing = [mask for mask in masks if not mask.is_file()]
    if scored and missing:
        raise FaultyVideo(
            f"video {name}: {len(missing)} of {len(masks)} frames have no annotation, the first "
            f"{missing[0]}; add them, or propagate without scores "
            "(test_dataloader.dataset.annotated=first)"
        )
    video = Video(
        name=name,
        index=index,
        frames=tuple(map(str, paths)),
        annotations=tuple(str(mask) if mask.is_file() else None for mask in masks),
        size=_check_sizes(name, paths, masks if scored else masks[:1]),
        scored=scored,
    )
    if not set(np.unique(video.annotation(0))) - {0, 255}:
        raise FaultyVideo(
            f"video {name}: the first annotation {masks[0]} shows no object; start the video at a "
            "frame whose annotation shows every object"
        )
    return video


def _in_order(paths) -> list[Path]:
    # Names that are plain numbers are sorted by value: 9.jpg comes before 10.jpg.
    paths = sorted(paths)
    if all(path.stem.isdigit() for path in paths):
        paths.sort(key=lambda path: int(path.stem))
    return paths


def _check_sizes(name: str, frames: Sequence[Path], masks: Sequence[Path]) -> tuple[int, int]:
    first: tuple[int, int] | None = None
    for path in (*frames, *masks):
        try:
            with Image.open(path) as image:
                width, height = image.size
                if path in masks:
                    check_indexed(image, path)
        except (UnidentifiedImageError, OSError) as error:
            raise FaultyVideo(
                f"video {name}: {path} is not a readable image ({path.stat().st_size} bytes); "
                "restore the file from its source"
            ) from error
        except ValueError as error:
            raise FaultyVideo(f"video {name}: {error}") from error
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
