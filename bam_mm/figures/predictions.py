"""Detections and segmentations to look at: the image, the truth, and what was predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from PIL import Image

from bam_mm.data.loading import decode_image
from bam_mm.protocols.overlays import blend
from bam_mm.registry import HOOKS

WIDTH = 240
"""Of a panel, in pixels."""

GAP = 4


@HOOKS.register_module()
class ShowPredictionsHook(Hook):
    """Draw the first images of a test, with truth and prediction beside them.

    Takes the data samples of mmdet (instances; the test pipeline must load annotations for the
    truth to be there) and of mmseg (maps). In place of their ``visualization`` hooks, which draw
    every image.

    Args:
        num: How many images are drawn.
        out: Folder below the work folder; one PNG an image.
        score: Detections below this score are left out of the picture.
    """

    def __init__(self, num: int = 4, out: str = "predictions", score: float = 0.3) -> None:
        self.num, self.out, self.score = num, out, score
        self._drawn = 0

    def before_test(self, runner: Any) -> None:
        """Begin anew."""
        self._drawn = 0

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw what is still wanted."""
        if not is_main_process():
            return
        for sample in (outputs or ())[: max(self.num - self._drawn, 0)]:
            names = tuple(runner.test_dataloader.dataset.metainfo.get("classes") or ())
            path = Path(sample.img_path)
            out = Path(runner.work_dir) / self.out / f"{self._drawn:02d}_{path.stem}.png"
            image = decode_image(path.read_bytes(), str(path))
            write_panels(image, panels_of(image, sample, names, score=self.score), out)
            self._drawn += 1


def panels_of(
    image: np.ndarray, sample: Any, names: tuple[str, ...], *, score: float
) -> list[np.ndarray]:
    """Truth, where it is known, and prediction, painted over an image.

    Args:
        image: (H, W, 3) uint8, BGR.
        sample: A data sample of mmdet or mmseg.
        names: Of the classes.
        score: Of detections, at least.

    Returns:
        (h, ``WIDTH``, 3) uint8, RGB, each.
    """
    panels = []
    for kind in ("gt", "pred"):
        if (found := getattr(sample, f"{kind}_sem_seg", None)) is not None:
            panels.append(paint_map(image, found.data.squeeze(0).cpu().numpy()))
        elif (found := getattr(sample, f"{kind}_instances", None)) is not None:
            panels.append(paint_instances(image, *_instances(found, score), names))
    return panels


def paint_map(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Paint a semantic map; what is not labelled (255) stays as it is.

    Args:
        image: (H, W, 3) uint8, BGR.
        labels: (H, W), class of each pixel.
    """
    ids = np.where(labels == 255, 0, labels % 254 + 1).astype(np.uint8)
    return blend(image, _as_large(ids, image), _palette(range(254)), width=WIDTH)


def paint_instances(
    image: np.ndarray,
    masks: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    scores: np.ndarray | None,
    names: tuple[str, ...],
) -> np.ndarray:
    """Paint instances in the colours of their classes, with box, name and score.

    Args:
        image: (H, W, 3) uint8, BGR.
        masks: (N, H, W) bool; later ones lie over earlier ones.
        boxes: (N, 4), x and y of two corners, in pixels.
        labels: (N,) classes.
        scores: (N,), or None.
        names: Of the classes.
    """
    masks, boxes, labels = masks[-255:], boxes[-255:], labels[-255:]
    ids = np.zeros(image.shape[:2], np.uint8)
    for number, mask in enumerate(masks, start=1):
        ids[mask] = number
    painted = blend(image, ids, _palette(labels), width=WIDTH)
    factor = painted.shape[1] / image.shape[1]
    for i, (box, label) in enumerate(zip(boxes * factor, labels, strict=True)):
        colour = tuple(int(c) for c in _colour(label))
        x, y, right, bottom = (round(float(v)) for v in box)
        cv2.rectangle(painted, (x, y), (right, bottom), colour, 1)
        said = names[label] if label < len(names) else str(label)
        said += "" if scores is None else f" {scores[-255:][i]:.2f}"
        place = (x + 2, max(y + 10, 10))
        for ink, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(painted, said, place, cv2.FONT_HERSHEY_SIMPLEX, 0.32, ink, thickness,
                        cv2.LINE_AA)  # fmt: skip
    return painted


def write_panels(image: np.ndarray, panels: list[np.ndarray], out: Path) -> Path:
    """Write an image (BGR) and its panels (RGB) side by side as one PNG."""
    plain = blend(image, np.zeros(image.shape[:2], np.uint8), [], width=WIDTH)
    gap = np.full((plain.shape[0], GAP, 3), 255, np.uint8)
    row = [part for panel in (plain, *panels) for part in (gap, panel)][1:]
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack(row)).save(out)
    return out


def _instances(found: Any, score: float) -> tuple[np.ndarray, ...]:
    masks, boxes, labels = found.masks, found.bboxes, found.labels.cpu().numpy()
    masks = masks.cpu().numpy() if hasattr(masks, "cpu") else masks.to_ndarray()
    boxes = getattr(boxes, "tensor", boxes).cpu().numpy()
    if "scores" not in found:
        return masks.astype(bool), boxes, labels, None
    scores = found.scores.cpu().numpy()
    # The surest lie on top.
    kept = [i for i in np.argsort(scores, kind="stable") if scores[i] >= score]
    return masks[kept].astype(bool), boxes[kept], labels[kept], scores[kept]


def _as_large(ids: np.ndarray, image: np.ndarray) -> np.ndarray:
    return cv2.resize(ids, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _palette(labels: Any) -> list[int]:
    return [0, 0, 0, *(int(part) for label in labels for part in _colour(label))]


def _colour(label: int) -> np.ndarray:
    # Hues by the golden section: neighbouring classes are far apart, however many there are.
    hue = (int(label) * 0.618034 + 0.58) % 1 * 180
    pixel = np.uint8([[[int(hue), 200, 235 - 50 * (int(label) % 2)]]])
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0]
