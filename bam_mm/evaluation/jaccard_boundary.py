"""J and F of DAVIS-2017's semi-supervised task, for label maps of whole videos."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from math import ceil, hypot

import numpy as np

from bam_mm.evaluation.boundary_planes import PAIRS, boundary_counts, pack_pairs

VOID = 255
"""Pixels of the truth with this value belong to no object."""

TOLERANCE = 0.008
"""How far a boundary may be off, as a fraction of the image's diagonal."""

MEASURES = ("J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")


def davis_j_and_f(truth: np.ndarray, prediction: np.ndarray) -> list[dict[str, float]]:
    """Score every object of one video by region (J) and boundary (F), as DAVIS-2017 does.

    The objects are the ids of the first frame of the truth. The first and the last frame are not
    scored. In the others, for the pixels of one object::

        J = |truth & prediction| / |truth | prediction|,             1 where both are empty
        precision = share of the prediction's boundary within d pixels of the truth's
        recall    = share of the truth's boundary within d pixels of the prediction's
        F = 2 * precision * recall / (precision + recall)

    with d = ceil(0.008 * diagonal). Where neither has a boundary F is 1, where only one has, 0.
    From the values of the scored frames follow the mean, the recall (share of frames above 0.5)
    and the decay (mean of the first quarter minus mean of the last).

    Rules and numbers are those of the official evaluator (Pont-Tuset et al., 2017) for the
    semi-supervised task. It gives void no special treatment there: a pixel of 255 counts as
    background. Two things differ that DAVIS-2017 never meets. The official evaluator takes every
    id from 1 to the largest of the first frame as an object; here an id that this frame skips is
    none. And its bins for the decay overflow beyond 256 scored frames; these do not.

    Args:
        truth: (T, H, W) integers, 0 background, T >= 3.
        prediction: (T, H, W) integers with the ids of the truth. An id that is missing is an empty
            mask. An id that the truth's first frame lacks is background, with a warning if it lies
            above the largest (the official evaluator refuses such a video).

    Returns:
        One dict an object, by ascending id, with the keys ``id``, ``J_mean``, ``J_recall``,
        ``J_decay``, ``F_mean``, ``F_recall``, ``F_decay``. All but the id lie in [0, 1], the decays
        in [-1, 1].

    Raises:
        ValueError: If the arrays are not integer (T, H, W) of equal shape, there are fewer than
            three frames, or the first frame of the truth shows no object.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    ids = object_ids(truth, prediction)
    highest = int(prediction[1:-1].max())
    if highest > ids[-1]:
        warnings.warn(
            f"the prediction has the id {highest}, but the ids of the truth's first frame are "
            f"{ids}; pixels of other ids count as background. Number the prediction as the first "
            "annotation does",
            stacklevel=2,
        )
    truth, prediction = _as_bytes(truth), _as_bytes(prediction)
    return [object_measures(i, *score_object(truth, prediction, i)) for i in ids]


def object_ids(truth: np.ndarray, prediction: np.ndarray) -> list[int]:
    """Check a video and list its objects.

    Args:
        truth: (T, H, W) integers.
        prediction: (T, H, W) integers.

    Returns:
        Ascending ids of the first frame of the truth, without 0 and 255.

    Raises:
        ValueError: As ``davis_j_and_f``.
    """
    for name, array in (("truth", truth), ("prediction", prediction)):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(
                f"{name} is an array of {array.dtype}: ids are integers; turn scores into ids with "
                "argmax, or a single object's mask into 0 and 1 with .astype('uint8')"
            )
    if truth.ndim != 3 or truth.shape != prediction.shape:
        raise ValueError(
            f"truth {truth.shape} and prediction {prediction.shape} must both be (T, H, W); resize "
            "the prediction to the annotation's size and give one map for each frame"
        )
    if truth.shape[0] < 3:
        raise ValueError(
            f"a video of {truth.shape[0]} frames has none to score, as the first and the last are "
            "left out; give at least 3 frames, or leave the video out"
        )
    present = _values(truth[0])
    ids = [i for i in present if i > 0 and i != VOID]
    if not ids:
        raise ValueError(
            f"the first frame of the truth shows no object (only the values {present}); start the "
            "video at a frame whose annotation shows every object"
        )
    return ids


def score_object(
    truth: np.ndarray, prediction: np.ndarray, object_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score one object in every scored frame of a video.

    Objects are independent of each other, so that callers may score them in parallel.

    Args:
        truth: (T, H, W) integers, T >= 3.
        prediction: (T, H, W) integers.
        object_id: Which pixels are the object.

    Returns:
        J and F, both (T - 2,) float64 in [0, 1]: the first and last frame are left out.
    """
    radius = ceil(TOLERANCE * hypot(*truth.shape[1:]))
    count = len(truth) - 2
    region, boundary = np.empty(count), np.empty(count)
    # One buffer for all frames: allocating megabytes again and again costs more than comparing.
    masks = np.empty((2, PAIRS, *truth.shape[1:]), bool)
    for start in range(0, count, PAIRS):
        frames = slice(start + 1, min(start + PAIRS, count) + 1)
        size = frames.stop - frames.start
        t = np.equal(truth[frames], object_id, out=masks[0, :size])
        p = np.equal(prediction[frames], object_id, out=masks[1, :size])
        box = _bounding_box(t, p)
        t, p = t[box], p[box]
        group = slice(start, start + size)
        region[group] = [_jaccard(a, b) for a, b in zip(t, p, strict=True)]
        total, confirmed = boundary_counts(pack_pairs(t, p), radius)
        boundary[group] = [
            _f_measure(total[i], total[i + PAIRS], confirmed[i], confirmed[i + PAIRS])
            for i in range(size)
        ]
    return region, boundary


def object_measures(object_id: int, region: np.ndarray, boundary: np.ndarray) -> dict[str, float]:
    """Sum up an object's J and F over the frames.

    Args:
        object_id: Kept under ``id``.
        region: (N,) J of the scored frames.
        boundary: (N,) F of the scored frames.

    Returns:
        The dict that ``davis_j_and_f`` gives for the object.
    """
    values = (*_statistics(region), *_statistics(boundary))
    return {"id": int(object_id), **dict(zip(MEASURES, values, strict=True))}


def davis_summary(objects: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Average over objects: every object of every video has the same weight.

    Args:
        objects: What ``davis_j_and_f`` gives, of all videos together.

    Returns:
        ``J&F`` = (J_mean + F_mean) / 2, then ``J_mean``, ``J_recall``, ``J_decay``, ``F_mean``,
        ``F_recall``, ``F_decay``.

    Raises:
        ValueError: If there is no object.
    """
    objects = list(objects)
    if not objects:
        raise ValueError("no objects to average; score at least one video first")
    means = {name: float(np.mean([o[name] for o in objects])) for name in MEASURES}
    return {"J&F": (means["J_mean"] + means["F_mean"]) / 2, **means}


def _values(labels: np.ndarray) -> list[int]:
    if labels.dtype == np.uint8:
        # Counting bytes is ten times faster than sorting them.
        return np.flatnonzero(np.bincount(labels.ravel())).tolist()
    return np.unique(labels).tolist()


def _as_bytes(labels: np.ndarray) -> np.ndarray:
    # Every object compares the whole video with its id: eight times faster on bytes than on int64.
    if labels.dtype != np.uint8 and labels.min() >= 0 and labels.max() <= 255:
        return labels.astype(np.uint8)
    return labels


def _bounding_box(truth: np.ndarray, prediction: np.ndarray) -> tuple[slice, slice, slice]:
    # One pixel more on each side holds the boundary (it lies north-west of an object's first
    # pixels) and, where the image goes on, a background for its last.
    either = truth[0] | prediction[0]
    for mask in (*truth[1:], *prediction[1:]):
        either |= mask
    rows = np.flatnonzero(either.any(axis=1))
    if not len(rows):
        return slice(None), slice(0, 1), slice(0, 1)
    top, bottom = max(rows[0] - 1, 0), rows[-1] + 2
    columns = np.flatnonzero(either[top:bottom].any(axis=0))
    return slice(None), slice(top, bottom), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def _jaccard(truth: np.ndarray, prediction: np.ndarray) -> float:
    union = np.count_nonzero(truth | prediction)
    return np.count_nonzero(truth & prediction) / union if union else 1.0


def _f_measure(truth: int, prediction: int, truth_hit: int, prediction_hit: int) -> float:
    # With a boundary on one side only, precision and recall are 0 and 1: F is 0.
    if not truth or not prediction:
        return float(truth == prediction)
    precision, recall = prediction_hit / prediction, truth_hit / truth
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _statistics(values: np.ndarray) -> tuple[float, float, float]:
    # The edges of the four bins belong to both neighbours.
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = (values[edges[i] : edges[i + 1] + 1] for i in (0, 3))
    return (
        float(values.mean()),
        float((values > 0.5).mean()),
        float(first.mean() - last.mean()),
    )
