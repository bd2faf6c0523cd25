"""One video with annotations: frames read on demand, faults named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bam_mm.data.indexed_png import check_indexed, read_indexed
from bam_mm.data.loading import decode_image
from bam_mm.errors import InputError

FRAME_ENDINGS = (".jpg", ".jpeg", ".png")


class FaultyVideo(InputError):
    """One video cannot be used; the others can."""


@dataclass(frozen=True)
class Video:
    """A video as lists of files; nothing is read until it is asked for.

    Attributes:
        name: Of the sequence.
        index: Its place in the data set.
        frames: Paths of the T frames.
        annotations: Path of each frame's annotation, None where there is none.
        size: (H, W) in pixels, of every frame and annotation.
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
            (H, W, 3) uint8, BGR.

        Raises:
            FaultyVideo: If it cannot be read.
        """
        path = self.frames[t]
        try:
            image = decode_image(Path(path).read_bytes(), path)
        except (OSError, InputError) as error:
            raise FaultyVideo(
                f"video {self.name}: frame {path} is missing, empty, cut short or no image; "
                "restore it from where the video came from"
            ) from error
        if image.shape[:2] != self.size:
            # OpenCV turns a photo by its EXIF mark, the header's size does not.
            raise FaultyVideo(
                f"video {self.name}: frame {path} is turned by its EXIF mark to "
                f"{image.shape[1]}x{image.shape[0]}; save the frames upright, without the mark"
            )
        return image

    def annotation(self, t: int) -> np.ndarray:
        """Read the annotation of frame t.

        Returns:
            (H, W) uint8 ids.

        Raises:
            FaultyVideo: If it cannot be read.
        """
        return self._indexed(t)[0]

    def palette(self) -> list[int]:
        """Colours of the first annotation: red, green, blue, one id after the other."""
        return self._indexed(0)[1]

    def truth(self) -> np.ndarray:
        """Read all annotations.

        Returns:
            (T, H, W) uint8 ids.
        """
        return np.stack([self.annotation(t) for t in range(len(self))])

    def _indexed(self, t: int) -> tuple[np.ndarray, list[int]]:
        try:
            return read_indexed(self.annotations[t])
        except (OSError, ValueError, SyntaxError) as error:
            raise FaultyVideo(
                f"video {self.name}: annotation {self.annotations[t]} cannot be read ({error}); "
                "restore it from where the video came from"
            ) from error


def open_video(
    frames: Path, annotations: Path, *, name: str, index: int, scored: bool = True
) -> Video:
    """Find a video's files and check them by their headers, without decoding.

    Args:
        frames: Folder of its frames.
        annotations: Folder of its annotations: PNGs named as the frames.
        name: Of the sequence, for messages.
        index: Its place in the data set.
        scored: Whether every frame needs an annotation; else the first one.

    Raises:
        FaultyVideo: For a missing folder, too few frames, a missing annotation, differing sizes, or
            an annotation without a palette or without an object.
    """
    if not frames.is_dir():
        raise FaultyVideo(
            f"video {name}: {frames} does not exist; unpack its frames there, or take the name off "
            "the list"
        )
    paths = _in_order(p for p in frames.iterdir() if p.suffix.lower() in FRAME_ENDINGS)
    needed = 3 if scored else 2
    if len(paths) < needed:
        why = ", as the first and the last are not scored" if scored else ""
        raise FaultyVideo(
            f"video {name}: {len(paths)} frame{'s' * (len(paths) != 1)} in {frames}, but {needed} "
            f"are needed{why}; add frames, or take the name off the list"
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
            f"video {name}: {len(missing)} of {len(masks)} frames have no annotation, the first of "
            f"them {missing[0]}; add them, or propagate without scores "
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
    # 9.jpg comes before 10.jpg, unless names are more than numbers.
    paths = sorted(paths)
    if all(path.stem.isdigit() for path in paths):
        paths.sort(key=lambda path: int(path.stem))
    return paths


def _check_sizes(name: str, frames: Sequence[Path], masks: Sequence[Path]) -> tuple[int, int]:
    first = None
    for path in (*frames, *masks):
        try:
            with Image.open(path) as image:
                width, height = image.size
                if path in masks:
                    check_indexed(image, path)
        except (UnidentifiedImageError, OSError) as error:
            raise FaultyVideo(
                f"video {name}: {path} is no readable image ({path.stat().st_size} bytes); restore "
                "it from where the video came from"
            ) from error
        except ValueError as error:
            raise FaultyVideo(f"video {name}: {error}") from error
        first = first or (height, width)
        if (height, width) != first:
            kind = "annotation" if path in masks else "frame"
            raise FaultyVideo(
                f"video {name}: {kind} {path} is {width}x{height}, the first frame "
                f"{first[1]}x{first[0]}; bring "
                + (
                    "annotations to their frames' size with nearest-neighbour resizing"
                    if kind == "annotation"
                    else "all frames to one size"
                )
            )
    return first
