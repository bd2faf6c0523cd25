"""Trees of videos in the layout of DAVIS, and an independent reader of their annotations."""

import cv2
import numpy as np
from PIL import Image

from bam_mm.data.indexed_png import write_indexed

SIZE = (16, 24)


FRAMES = 12


def truth_of_boxes(frames=FRAMES, ids=(1, 2, 3)):
    """Return (T, H, W) ids of boxes that move to the right."""
    truth = np.zeros((frames, *SIZE), np.uint8)
    for t in range(frames):
        for row, number in enumerate(ids):
            truth[t, 1 + 5 * row : 5 + 5 * row, 1 + t % 8 : 7 + t % 8] = number
    return truth


def write_tree(root, names=("a", "b"), frames=FRAMES):
    truth = truth_of_boxes(frames)
    for name in names:
        for kind in ("JPEGImages", "Annotations"):
            (root / kind / "480p" / name).mkdir(parents=True, exist_ok=True)
        for t in range(frames):
            # The number of the frame is its grey level.
            image = np.full((*SIZE, 3), 20 * t, np.uint8)
            cv2.imwrite(str(root / f"JPEGImages/480p/{name}/{t:05d}.jpg"), image)
            write_indexed(root / f"Annotations/480p/{name}/{t:05d}.png", truth[t])
    return root


def masks(root, name="a"):
    return sorted((root / "Annotations/480p" / name).iterdir())


def frames(root, name="a"):
    return sorted((root / "JPEGImages/480p" / name).iterdir())


def order_of(video):
    return [round(video.frame(t).mean() / 20) for t in range(len(video))]


def read_indexed(path):
    """Return the (H, W) uint8 ids and the flat palette of an indexed PNG."""
    with Image.open(path) as image:
        assert image.mode == "P", path
        return np.asarray(image), image.getpalette()
