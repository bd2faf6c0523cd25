"""Pictures of detections and segmentations: the image, the ground truth and the prediction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bam_mm.data.loading import read_image
from bam_mm.data.match_annotation import as_evaluated, steps_of
from bam_mm.figures.library_pictures import LibraryPicturesHook
from bam_mm.figures.tracking import step_of, trackers
from bam_mm.protocols.overlays import blend
from bam_mm.registry import HOOKS

WIDTH = 240
"""Width of a panel in pixels."""

GAP = 4

CLASSES = "bam_mm classes"
"""Name of the text in a PNG file that holds the colours of its classes."""


@HOOKS.register_module()
class ShowPredictionsHook(LibraryPicturesHook):
    """Draw the first images of a test next to their ground truth and prediction.

    In a test, the pictures are files in the work folder. They also go to every backend of the
    visualizer besides mmengine's local one, and so do those of each validation, with the iteration
    as their step (``val_00_NAME``, ``test_00_NAME``).

    The hook handles data samples of mmdet (instances; the ground truth is drawn if the test
    pipeline loads annotations) and of mmseg (maps). It replaces their ``visualization`` hooks,
    and draws what those draw, every image, if their arguments ask for it.

    Args:
        num: Number of images to draw.
        out: Folder below the work folder for the pictures, one PNG per image.
        score: Minimum score of the detections to draw.
        **drawing: Arguments of the libraries' hooks, see
            :class:`~bam_mm.figures.library_pictures.LibraryPicturesHook`.
    """

    def __init__(
        self, num: int = 4, out: str = "predictions", score: float = 0.3, **drawing: Any
    ) -> None:
        super().__init__(**drawing)
        self.num, self.out, self.score = num, out, score
        self._drawn = 0

    def before_test(self, runner: Any) -> None:
        """Reset the number of drawn images."""
        self._drawn = 0

    def before_val(self, runner: Any) -> None:
        """Reset the number of drawn images."""
        self._drawn = 0

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the images of a batch until ``num`` images are drawn."""
        super().after_test_iter(runner, batch_idx, data_batch, outputs)
        self._draw(runner, "test", runner.test_dataloader.dataset, outputs)

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw the images of a batch, if a backend shows them."""
        super().after_val_iter(runner, batch_idx, data_batch, outputs)
        if trackers(runner):
            self._draw(runner, "val", runner.val_dataloader.dataset, outputs)

    def _draw(self, runner: Any, part: str, dataset: Any, outputs: Any) -> None:
        if not is_main_process():
            return
        steps = steps_of(dataset)
        for sample in (outputs or ())[: max(self.num - self._drawn, 0)]:
            names = tuple(dataset.metainfo.get("classes") or ())
            path = Path(sample.img_path)
            name = f"{self._drawn:02d}_{path.stem}"
            image = read_image(path, "restore the file")
            if "ori_shape" in sample:
                image = as_evaluated(image, str(path), sample.ori_shape, steps)
            picture = join_panels(image, panels_of(image, sample, names, score=self.score))
            if part == "test":
                out = Path(runner.work_dir) / self.out / f"{name}.png"
                write_picture(picture, out, classes_of(sample, names, score=self.score))
            for backend in trackers(runner):
                backend.add_image(f"{part}_{name}", picture, step=step_of(runner))
            self._drawn += 1


def panels_of(
    image: np.ndarray, sample: Any, names: tuple[str, ...], *, score: float
) -> list[np.ndarray]:
    """Paint the ground truth, if it is known, and the prediction over an image.

    Args:
        image: Image (H, W, 3) uint8, BGR.
        sample: Data sample of mmdet or mmseg.
        names: Names of the classes.
        score: Minimum score of the detections to paint.

    Returns:
        Panels, each (h, ``WIDTH``, 3) uint8, RGB.
    """
    panels = []
    for kind in ("gt", "pred"):
        if (found := getattr(sample, f"{kind}_sem_seg", None)) is not None:
            panels.append(paint_map(image, found.data.squeeze(0).cpu().numpy()))
        elif (found := getattr(sample, f"{kind}_instances", None)) is not None:
            panels.append(paint_instances(image, *_instances(found, score), names))
    return panels


def paint_map(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Paint a semantic map over an image; unlabelled pixels (255) stay unchanged.

    Args:
        image: Image (H, W, 3) uint8, BGR.
        labels: Class of each pixel (H, W).

    Returns:
        Panel (h, ``WIDTH``, 3) uint8, RGB.
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
        image: Image (H, W, 3) uint8, BGR.
        masks: Masks (N, H, W) bool; later masks cover earlier ones.
        boxes: Boxes (N, 4) as x and y of two corners, in pixels.
        labels: Class of each instance (N,).
        scores: Score of each instance (N,), or None.
        names: Names of the classes.

    Returns:
        Panel (h, ``WIDTH``, 3) uint8, RGB.
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
        text = names[label] if label < len(names) else str(label)
        text += "" if scores is None else f" {scores[-255:][i]:.2f}"
        place = (x + 2, max(y + 10, 10))
        for ink, thickness in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            cv2.putText(painted, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.32, ink, thickness,
                        cv2.LINE_AA)  # fmt: skip
    return painted


def join_panels(image: np.ndarray, panels: list[np.ndarray]) -> np.ndarray:
    """Arrange an image (BGR) and its panels (RGB) side by side in one picture (RGB)."""
    plain = blend(image, np.zeros(image.shape[:2], np.uint8), [], width=WIDTH)
    gap = np.full((plain.shape[0], GAP, 3), 255, np.uint8)
    row = [part for panel in (plain, *panels) for part in (gap, panel)][1:]
    return np.hstack(row)


def classes_of(sample: Any, names: tuple[str, ...], *, score: float) -> dict[str, str]:
    """Return the colours of the classes that :func:`panels_of` paints.

    Args:
        sample: Data sample of mmdet or mmseg.
        names: Names of the classes.
        score: Minimum score of the detections.

    Returns:
        Colours such as ``#b21ee6`` by the names of the classes, in the order of their numbers.
    """
    colours: dict[int, np.ndarray] = {}
    for kind in ("gt", "pred"):
        if (found := getattr(sample, f"{kind}_sem_seg", None)) is not None:
            labels = {int(label) for label in found.data.unique()} - {255}
            colours |= {label: _colour(label % 254) for label in labels}
        elif (found := getattr(sample, f"{kind}_instances", None)) is not None:
            colours |= {label: _colour(label) for label in _instances(found, score)[2].tolist()}
    return {
        names[label] if label < len(names) else str(label): f"#{colour.tobytes().hex()}"
        for label, colour in sorted(colours.items())
    }


def write_picture(picture: np.ndarray, out: Path, classes: Mapping[str, str] | None = None) -> Path:
    """Write a picture (RGB) to a PNG file, in a folder that is created if necessary.

    Args:
        picture: Picture (H, W, 3) uint8.
        out: File to write.
        classes: Colours of its classes by name, which the file holds for :func:`read_classes`.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    facts = PngInfo()
    facts.add_text(CLASSES, json.dumps(dict(classes or {})))
    Image.fromarray(picture).save(out, pnginfo=facts)
    return out


def read_classes(path: Path) -> dict[str, str]:
    """Return the colours of the classes of a picture by name, empty for other images."""
    try:
        with Image.open(path) as image:
            return json.loads(image.info.get(CLASSES) or "{}")
    except OSError:  # Not an image that Pillow knows.
        return {}


def _instances(
    found: Any, score: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    masks, boxes, labels = found.masks, found.bboxes, found.labels.cpu().numpy()
    masks = masks.cpu().numpy() if hasattr(masks, "cpu") else masks.to_ndarray()
    boxes = getattr(boxes, "tensor", boxes).cpu().numpy()
    if "scores" not in found:
        return masks.astype(bool), boxes, labels, None
    scores = found.scores.cpu().numpy()
    # In ascending order, so that the most confident detections are painted on top.
    kept = [i for i in np.argsort(scores, kind="stable") if scores[i] >= score]
    return masks[kept].astype(bool), boxes[kept], labels[kept], scores[kept]


def _as_large(ids: np.ndarray, image: np.ndarray) -> np.ndarray:
    return cv2.resize(ids, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)


def _palette(labels: Any) -> list[int]:
    return [0, 0, 0, *(int(part) for label in labels for part in _colour(label))]


def _colour(label: int) -> np.ndarray:
    # Golden-ratio steps keep the hues of neighbouring classes far apart for any number of classes.
    hue = (int(label) * 0.618034 + 0.58) % 1 * 180
    pixel = np.array([[[int(hue), 200, 235 - 50 * (int(label) % 2)]]], np.uint8)
    return cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0]
