"""Images and animations of videos with their objects painted in colour."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bam_mm.data.video import Video


def blend(
    frame: np.ndarray, ids: np.ndarray, palette: list[int], *, width: int, opacity: float = 0.5
) -> np.ndarray:
    """Blend the colours of the objects into a frame and outline each object.

    Args:
        frame: Frame (H, W, 3) uint8, BGR.
        ids: Object of each pixel (H, W) uint8; 0 is the background.
        palette: Red, green and blue of each id, one after the other.
        width: Width of the result in pixels; its height follows from the aspect ratio.
        opacity: Opacity of the colours in 0 to 1.

    Returns:
        Image (H', width, 3) uint8, RGB.
    """
    size = (width, max(round(width * frame.shape[0] / frame.shape[1]), 1))
    image = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)[:, :, ::-1].astype(np.float32)
    ids = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST)
    colours = np.zeros((256, 3), np.float32)
    known = np.asarray(palette, np.float32).reshape(-1, 3)[:256]
    colours[: len(known)] = known
    paint, inside = colours[ids], (ids > 0)[:, :, None]
    image = np.where(inside, (1 - opacity) * image + opacity * paint, image)
    # The outline lies inside the object; a lighter tint makes it visible on the object's colour.
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    edge = (cv2.erode(ids, cross) != ids) | (cv2.dilate(ids, cross) != ids)
    image = np.where(edge[:, :, None] & inside, 0.5 * paint + 127.5, image)
    return image.round().clip(0, 255).astype(np.uint8)


def write_strip(
    video: Video,
    ids: np.ndarray,
    palette: list[int],
    out: str | Path,
    *,
    columns: int = 6,
    width: int = 240,
) -> Path:
    """Write frames side by side to one PNG, evenly spaced from the first to the last.

    Args:
        video: Video with T frames.
        ids: Object of each pixel (T, H, W) uint8; 0 is the background.
        palette: Red, green and blue of each id, one after the other.
        out: File to write.
        columns: Maximum number of frames to show.
        width: Width of each frame in pixels.

    Returns:
        ``out``.
    """
    shown = np.linspace(0, len(video) - 1, min(columns, len(video))).round().astype(int)
    tiles = [blend(video.frame(t), ids[t], palette, width=width) for t in shown]
    gap = np.full((tiles[0].shape[0], 2, 3), 255, np.uint8)
    row = np.hstack([part for tile in tiles for part in (tile, gap)][:-1])
    return _save(Image.fromarray(row), out)


def write_gif(
    video: Video,
    ids: np.ndarray,
    palette: list[int],
    out: str | Path,
    *,
    width: int = 320,
    milliseconds: int = 80,
) -> Path:
    """Write all frames to an animated GIF that loops.

    Args:
        video: Video with T frames.
        ids: Object of each pixel (T, H, W) uint8; 0 is the background.
        palette: Red, green and blue of each id, one after the other.
        out: File to write.
        width: Width of the animation in pixels.
        milliseconds: Duration of each frame.

    Returns:
        ``out``.
    """
    frames = [
        Image.fromarray(blend(video.frame(t), ids[t], palette, width=width)).quantize(128)
        for t in range(len(video))
    ]
    return _save(
        frames[0], out, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0
    )


def write_mp4(
    video: Video, ids: np.ndarray, palette: list[int], out: str | Path, *, fps: float
) -> Path:
    """Write all frames to an MP4 file (MPEG-4, the one codec that every build of OpenCV has).

    Args:
        video: Video with T frames.
        ids: Object of each pixel (T, H, W) uint8; 0 is the background.
        palette: Red, green and blue of each id, one after the other.
        out: File to write.
        fps: Frames a second.

    Returns:
        ``out``; or, if OpenCV cannot write videos, an animated GIF beside it.
    """
    height, width = (side - side % 2 for side in video.size)  # The codec needs even sides.
    code = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(out), code, fps, (width, height))
    if not writer.isOpened():
        milliseconds = round(1000 / fps)
        return write_gif(
            video, ids, palette, Path(out).with_suffix(".gif"), milliseconds=milliseconds
        )
    for t in range(len(video)):
        image = blend(video.frame(t), ids[t], palette, width=video.size[1])
        writer.write(np.ascontiguousarray(image[:height, :width, ::-1]))
    writer.release()
    return Path(out)


def _save(image: Image.Image, out: str | Path, **options) -> Path:
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    image.save(out, **options)
    return out
