"""Baseline of J and F: each object separately, frame by frame, on full images."""

import cv2
import numpy as np


def frame_by_frame_j_and_f(truth: np.ndarray, prediction: np.ndarray) -> list[dict[str, float]]:
    """Compute the same as ``davis_j_and_f`` with operations on full images.

    Args:
        truth: (T, H, W) uint8 ids of the annotation.
        prediction: (T, H, W) uint8 ids of the prediction.

    Returns:
        One dict per object, with the keys of ``davis_j_and_f``.
    """
    radius = int(np.ceil(0.008 * np.linalg.norm(truth.shape[1:])))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.uint8)
    rows = []
    for object_id in np.unique(truth[0][truth[0] > 0]):
        t, p = truth[1:-1] == object_id, prediction[1:-1] == object_id
        region = np.array([_jaccard(a, b) for a, b in zip(t, p, strict=True)])
        boundary = np.array([_f_measure(a, b, disk) for a, b in zip(t, p, strict=True)])
        row = {"id": int(object_id)}
        for name, values in (("J", region), ("F", boundary)):
            bins = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
            row[f"{name}_mean"] = values.mean()
            row[f"{name}_recall"] = (values > 0.5).mean()
            row[f"{name}_decay"] = (
                values[bins[0] : bins[1] + 1].mean() - values[bins[3] : bins[4] + 1].mean()
            )
        rows.append(row)
    return rows


def _jaccard(truth, prediction):
    union = np.sum(truth | prediction)
    return np.sum(truth & prediction) / union if union else 1.0


def _boundary(mask):
    last = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    return (mask ^ last[:-1, 1:]) | (mask ^ last[1:, :-1]) | (mask ^ last[1:, 1:])


def _f_measure(truth, prediction, disk):
    truth, prediction = _boundary(truth), _boundary(prediction)
    truth_area = cv2.dilate(truth.astype(np.uint8), disk).astype(bool)
    prediction_area = cv2.dilate(prediction.astype(np.uint8), disk).astype(bool)
    if not truth.any() or not prediction.any():
        return float(truth.any() == prediction.any())
    precision = np.sum(prediction & truth_area) / np.sum(prediction)
    recall = np.sum(truth & prediction_area) / np.sum(truth)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
