"""One video with the mask of one frame: a video file, or a folder of frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bam_mm.data.file_names import IMAGE_ENDINGS
from bam_mm.data.object_ids import VOID
from bam_mm.data.video import Video, check_sizes, read_ids
from bam_mm.data.video_files import frame_files
from bam_mm.errors import InputError, listing

FOLDER_FPS = 10.0
"""Frames a second of a folder, whose frames state none."""


@dataclass(frozen=True)
class MarkedVideo:
    """A video of which one frame has a mask.

    Attributes:
        after: Video from the frame with the mask to the last, whose first annotation is the mask.
        before: The same from this frame back to the first; None if that frame is the first.
        names: Name of each frame of the whole video, without an ending.
        fps: Frames a second.
        notes: How the files were read, for the user.
    """

    after: Video
    before: Video | None
    names: tuple[str, ...]
    fps: float
    notes: tuple[str, ...] = ()

    def whole(self) -> Video:
        """Return the video in its own order, without an annotation."""
        before = self.before.frames[:0:-1] if self.before else ()
        frames = (*before, *self.after.frames)
        return Video(self.after.name, 0, frames, (None,) * len(frames), self.after.size)

    def joined(self, after: np.ndarray, before: np.ndarray | None) -> np.ndarray:
        """Join the (T, H, W) results of both directions in the order of the whole video."""
        return after if before is None else np.concatenate([before[:0:-1], after])


def open_marked_video(
    source: str | Path, mask: str | Path, folder: str | Path, *, frame: int | None = None
) -> MarkedVideo:
    """Open a video and the mask of one of its frames.

    Args:
        source: Video file that OpenCV can decode, or folder of frames.
        mask: Image of the objects in one frame, see :func:`~bam_mm.data.object_ids.first_ids`.
        folder: Folder to decode the frames of a video file into.
        frame: Number of the frame that the mask shows, counted from 0. None is the frame of the
            folder that has the name or the number of the mask, otherwise the first.

    Raises:
        InputError: If the video or the mask cannot be read, the video has fewer than two frames or
            frames of different sizes, or the mask does not fit or has the name of a missing frame.
    """
    source, mask = Path(source).expanduser(), Path(mask).expanduser()
    if not mask.is_file():
        what = "is a folder: pass one image" if mask.is_dir() else "does not exist: check the path"
        raise InputError(f"mask {mask} {what}, an indexed PNG with 0 for the background")
    notes: list[str] = []
    if source.is_dir():
        paths, notes = _frames_in(source, mask)
        fps = FOLDER_FPS
    else:
        paths, fps, notes = decode_video(source, Path(folder))
    names = tuple(path.stem for path in paths)
    if frame is None:
        frame = _frame_of(mask, names, source) if source.is_dir() else 0
    if not 0 <= frame < len(paths):
        raise InputError(
            f"--frame {frame}: {source} has the frames 0 to {len(paths) - 1}, counted from 0"
        )
    if len(paths) < 2:
        raise InputError(f"{source} has one frame, but two are needed to follow an object")
    name = source.stem or "video"
    size = check_sizes(name, paths, [mask])
    ids, rule = read_ids(name, mask)
    objects = sorted(set(np.unique(ids).tolist()) - {0, VOID})
    if not objects:
        raise InputError(
            f"mask {mask} shows no object: give each object a number from 1, and 0 to the "
            "background"
        )
    notes += [f"mask: {rule.note}"] * bool(rule.note)
    notes.append(
        f"{len(paths)} frames of {size[1]}x{size[0]} px, objects {listing(map(str, objects), 8)} "
        f"in frame {frame}"
    )
    frames = tuple(map(str, paths))

    def part(chosen: tuple[str, ...]) -> Video:
        annotations = (str(mask), *[None] * (len(chosen) - 1))
        return Video(name, 0, chosen, annotations, size, scored=False, rule=rule)

    before = part(frames[frame::-1]) if frame else None
    return MarkedVideo(part(frames[frame:]), before, names, fps, tuple(notes))


def _frame_of(mask: Path, names: tuple[str, ...], folder: Path) -> int:
    """Return the frame that a mask is named after: the whole name, or its number; else the first.

    Raises:
        InputError: If it has the name of a frame that the folder does not have.
    """
    if mask.stem in names:
        return names.index(mask.stem)
    numbered = [re.fullmatch(r"(.*?)(\d+)", name) for name in (mask.stem, *names)]
    if not all(numbered):
        return 0
    (start, number), *others = [(each[1], int(each[2])) for each in numbered if each]
    if start and any(other != start for other, _ in others):
        return 0
    found = [place for place, (_, other) in enumerate(others) if other == number]
    if len(found) != 1:
        raise InputError(
            f"mask {mask} is named like a frame, but {folder} has {len(found) or 'no'} frames of "
            f"this number ({names[0]} to {names[-1]}): rename the mask, or set its frame with "
            "--frame N, counted from 0"
        )
    return found[0]


def decode_video(path: Path, folder: Path) -> tuple[list[Path], float, list[str]]:
    """Decode the frames of a video file into PNG files, which lose nothing.

    Args:
        path: Video file.
        folder: Folder to write ``00000.png`` and so on to.

    Returns:
        Paths of the frames in order, the frames a second, and notes.

    Raises:
        InputError: If the file does not exist, or OpenCV decodes no frame of it.
    """
    if not path.is_file():
        raise InputError(
            f"video {path} does not exist: pass a video file, or a folder of its frames"
        )
    if path.suffix.lower() in IMAGE_ENDINGS and path.suffix.lower() != ".gif":
        raise InputError(f"{path} is a single image: pass a video file, or a folder of frames")
    capture = cv2.VideoCapture(str(path))
    stated, fps = capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)
    paths: list[Path] = []
    folder.mkdir(parents=True, exist_ok=True)
    while (decoded := capture.read())[0]:
        paths.append(folder / f"{len(paths):05d}.png")
        done, data = cv2.imencode(".png", decoded[1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        assert done
        paths[-1].write_bytes(data.tobytes())
    capture.release()
    if not paths:
        raise InputError(
            f"OpenCV decodes no frame of {path} ({path.stat().st_size} bytes): it is damaged or "
            "not a video that OpenCV knows; convert it to MP4, or pass a folder of its frames"
        )
    notes = []
    if len(paths) < stated:
        notes = [f"{path} states {stated:.0f} frames, of which {len(paths)} could be decoded"]
    return paths, fps if 0 < fps <= 1000 else FOLDER_FPS, notes


def _frames_in(folder: Path, mask: Path) -> tuple[list[Path], list[str]]:
    paths, notes = frame_files(folder)
    # The mask may lie beside the frames, but not in place of one.
    paths = [path for path in paths if not path.samefile(mask)]
    if not paths:
        raise InputError(
            f"{folder} has no frames: pass a video file, or a folder of images in the order of "
            "their names"
        )
    return paths, notes
