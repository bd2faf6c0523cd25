"""J and F of a video in loops over pixels, written from the definitions only."""

from math import ceil, sqrt


def slow_davis_j_and_f(truth, prediction):
    """Compute ``davis_j_and_f`` of two (T, H, W) arrays with sets of pixels."""
    height, width = truth[0].shape
    tolerance = ceil(0.008 * sqrt(height**2 + width**2))
    ids = sorted({int(v) for row in truth[0] for v in row} - {0, 255})
    rows = []
    for object_id in ids:
        region, contour = [], []
        for t, p in list(zip(truth, prediction, strict=True))[1:-1]:
            t, p = _pixels(t, object_id), _pixels(p, object_id)
            region.append(len(t & p) / len(t | p) if t | p else 1.0)
            contour.append(_f(_boundary(t, height, width), _boundary(p, height, width), tolerance))
        row = {"id": object_id}
        for name, values in (("J", region), ("F", contour)):
            row[f"{name}_mean"] = sum(values) / len(values)
            row[f"{name}_recall"] = sum(v > 0.5 for v in values) / len(values)
            row[f"{name}_decay"] = _decay(values)
        rows.append(row)
    return rows


def _pixels(labels, object_id):
    return {(y, x) for y, row in enumerate(labels) for x, v in enumerate(row) if v == object_id}


def _boundary(mask, height, width):
    # Neighbours outside the image are ignored.
    found = set()
    for y in range(height):
        for x in range(width):
            for ny, nx in ((y, x + 1), (y + 1, x), (y + 1, x + 1)):
                inside = ny < height and nx < width
                if inside and ((y, x) in mask) != ((ny, nx) in mask):
                    found.add((y, x))
    return found


def _near(points, others, tolerance):
    return sum(
        any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in others) for y, x in points
    )


def _f(truth, prediction, tolerance):
    if not truth and not prediction:
        precision, recall = 1.0, 1.0
    elif not prediction:
        precision, recall = 1.0, 0.0
    elif not truth:
        precision, recall = 0.0, 1.0
    else:
        precision = _near(prediction, truth, tolerance) / len(prediction)
        recall = _near(truth, prediction, tolerance) / len(truth)
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def _decay(values):
    n = len(values)
    # Five edges of bins from the first to the last frame. The offset rounds halves up.
    edges = [round(1 + i * (n - 1) / 4 + 1e-10) - 1 for i in range(5)]
    first = values[edges[0] : edges[1] + 1]
    last = values[edges[3] : edges[4] + 1]
    return sum(first) / len(first) - sum(last) / len(last)
