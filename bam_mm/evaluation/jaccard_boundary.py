"""J and F measures of the semi-supervised task of DAVIS-2017, for label maps of whole videos."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from math import ceil, hypot

import numpy as np

from bam_mm.evaluation.boundary_planes import PAIRS, boundary_counts, pack_pairs

VOID = 255
"""Pixels of the truth with this value belong to no object."""

TOLERANCE = 0.008
"""Distance within which boundary pixels match, as a fraction of the image diagonal."""

MEASURES = ("J_mean", "J_recall", "J_decay", "F_mean", "F_recall", "F_decay")


def davis_j_and_f(truth: np.ndarray, prediction: np.ndarray) -> list[dict[str, float]]:
    """Score every object of one video by region (J) and boundary (F), as in DAVIS-2017.

    The objects are the ids in the first frame of the truth. The first and the last frame are not
    scored. In every other frame, for the pixels of one object::

        J = |truth & prediction| / |truth | prediction|,             1 where both are empty
        precision = share of the prediction's boundary within d pixels of the truth's
        recall    = share of the truth's boundary within d pixels of the prediction's
        F = 2 * precision * recall / (precision + recall)

    with d = ceil(0.008 * diagonal). F is 1 where neither mask has a boundary, and 0 where only one
    has. The values of the scored frames are summarised by their mean, their recall (share of frames
    above 0.5) and their decay (mean of the first quarter minus mean of the last quarter).

    Rules and results are those of the official evaluator (Pont-Tuset et al., 2017) for the
    semi-supervised task, which does not treat void specially: pixels of value 255 count as
    background. Two differences do not affect DAVIS-2017 itself. First, the official evaluator takes
    every id from 1 to the largest id of the first frame as an object, while an id that is missing
    from that frame is not an object here. Second, its bins for the decay overflow beyond 256 scored
    frames, which is avoided here.

    Args:
        truth: (T, H, W) integer ids, 0 for background, T >= 3.
        prediction: (T, H, W) integer ids, numbered as in the truth. The mask of a missing id is
            empty. Ids that the first frame of the truth does not show count as background, with a
            warning if one exceeds the largest id of that frame (the official evaluator rejects such
            a video).

    Returns:
        One dict per object, by ascending id, with the keys ``id``, ``J_mean``, ``J_recall``,
        ``J_decay``, ``F_mean``, ``F_recall`` and ``F_decay``. Decays lie in [-1, 1], means and
        recalls in [0, 1].

    Raises:
        ValueError: If the arrays are not integer arrays of the same shape (T, H, W), there are
            fewer than three frames, or the first frame of the truth shows no object.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    ids = object_ids(truth, prediction)
    highest = int(prediction[1:-1].max())
    if highest > ids[-1]:
        warnings.warn(
            f"the prediction has the id {highest}, but the ids of the truth's first frame are "
            f"{ids}; pixels of other ids count as background. Number the objects as in the first "
            "annotation",
            stacklevel=2,
        )
    truth, prediction = _as_bytes(truth), _as_bytes(prediction)
    return [object_measures(i, *score_object(truth, prediction, i)) for i in ids]


def object_ids(truth: np.ndarray, prediction: np.ndarray) -> list[int]:
    """Check a video and list its objects.

    Args:
        truth: (T, H, W) integer ids, 0 for background.
        prediction: (T, H, W) integer ids.

    Returns:
        Ids in the first frame of the truth, ascending, without 0 and 255.

    Raises:
        ValueError: If the arrays are not integer arrays of the same shape (T, H, W), there are
            fewer than three frames, or the first frame of the truth shows no object.
    """
    for name, array in (("truth", truth), ("prediction", prediction)):
        if not np.issubdtype(array.dtype, np.integer):
            raise ValueError(
                f"{name} is an array of {array.dtype}, but ids are integers; convert scores to ids "
                "with argmax, or the mask of a single object to 0 and 1 with .astype('uint8')"
            )
    if truth.ndim != 3 or truth.shape != prediction.shape:
        raise ValueError(
            f"truth {truth.shape} and prediction {prediction.shape} must both be (T, H, W); resize "
            "the prediction to the size of the annotation and pass one map per frame"
        )
    if truth.shape[0] < 3:
        raise ValueError(
            f"a video of {truth.shape[0]} frames has none to score, because the first and the last "
            "are not scored; pass at least 3 frames, or leave the video out"
        )
    present = _values(truth[0])
    ids = [i for i in present if i > 0 and i != VOID]
    if not ids:
        raise ValueError(
            f"the first frame of the truth shows no object (only the values {present}); start the "
            "video at a frame in which every object is annotated"
        )
    return ids


def score_object(
    truth: np.ndarray, prediction: np.ndarray, object_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Score one object in every scored frame of a video.

    Objects are independent of each other, so callers may score them in parallel.

    Args:
        truth: (T, H, W) integer ids, T >= 3.
        prediction: (T, H, W) integer ids.
        object_id: Id of the object to score.

    Returns:
        J and F, both (T - 2,) float64 in [0, 1]. The first and the last frame are not scored.
    """
    radius = ceil(TOLERANCE * hypot(*truth.shape[1:]))
    count = len(truth) - 2
    region, boundary = np.empty(count), np.empty(count)
    # All frames share one buffer, because repeated allocations of megabytes cost more than the
    # comparisons.
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
    """Summarise J and F of an object over the frames.

    Args:
        object_id: Id of the object.
        region: (N,) J of the scored frames.
        boundary: (N,) F of the scored frames.

    Returns:
        The dict that :func:`davis_j_and_f` returns for this object.
    """
    values = (*_statistics(region), *_statistics(boundary))
    return {"id": int(object_id), **dict(zip(MEASURES, values, strict=True))}


def davis_summary(objects: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Average over objects, where every object of every video has the same weight.

    Args:
        objects: Results of :func:`davis_j_and_f` for all videos, in one sequence.

    Returns:
        Dict with ``J&F`` = (J_mean + F_mean) / 2, ``J_mean``, ``J_recall``, ``J_decay``,
        ``F_mean``, ``F_recall`` and ``F_decay``.

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
    # The whole video is compared with each id, which is eight times faster for bytes than for
    # int64.
    if labels.dtype != np.uint8 and labels.min() >= 0 and labels.max() <= 255:
        return labels.astype(np.uint8)
    return labels


def _bounding_box(truth: np.ndarray, prediction: np.ndarray) -> tuple[slice, slice, slice]:
    # The box has a margin of one pixel, because the boundary starts north-west of the first pixels
    # of an object, and its last pixels need a background to differ from (unless the image ends).
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
    # If only one mask has a boundary, one of precision and recall is 0, so F is 0.
    if not truth or not prediction:
        return float(truth == prediction)
    precision, recall = prediction_hit / prediction, truth_hit / truth
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _statistics(values: np.ndarray) -> tuple[float, float, float]:
    # A frame at an edge between two of the four bins counts in both.
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = (values[edges[i] : edges[i + 1] + 1] for i in (0, 3))
    return (
        float(values.mean()),
        float((values > 0.5).mean()),
        float(first.mean() - last.mean()),
    )
