"""Videos with their objects in colour, to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from bam_mm.data.video import Video


def blend(
    frame: np.ndarray, ids: np.ndarray, palette: list[int], *, width: int, opacity: float = 0.5
) -> np.ndarray:
    """Lay the objects' colours over a frame, with a line around each.

    Args:
        frame: (H, W, 3) uint8, BGR.
        ids: (H, W) uint8, 0 background.
        palette: Red, green, blue of each id, one after the other.
        width: Of the result in pixels; its height keeps the aspect.
        opacity: Of the colours, 0 to 1.

    Returns:
        (H', width, 3) uint8, RGB.
    """
    size = (width, max(round(width * frame.shape[0] / frame.shape[1]), 1))
    image = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)[:, :, ::-1].astype(np.float32)
    ids = cv2.resize(ids, size, interpolation=cv2.INTER_NEAREST)
    colours = np.zeros((256, 3), np.float32)
    given = np.asarray(palette, np.float32).reshape(-1, 3)[:256]
    colours[: len(given)] = given
    paint, inside = colours[ids], (ids > 0)[:, :, None]
    image = np.where(inside, (1 - opacity) * image + opacity * paint, image)
    # The line lies inside the object, in its full colour made light, to be seen on its own paint.
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
    """Write a few frames side by side as one PNG, evenly spaced from the first to the last.

    Args:
        video: Of T frames.
        ids: (T, H, W) uint8.
        palette: As for ``blend``.
        out: File to write.
        columns: Most frames shown.
        width: Of each, in pixels.

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
    """Write all frames as an animated GIF that repeats.

    Args:
        video: Of T frames.
        ids: (T, H, W) uint8.
        palette: As for ``blend``.
        out: File to write.
        width: In pixels.
        milliseconds: Of each frame.

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


def _save(image: Image.Image, out: str | Path, **options) -> Path:
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    image.save(out, **options)
    return out
