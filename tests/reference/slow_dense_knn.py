"""Segmentation by nearest patches in plain Python loops."""

import math

IGNORED = 255


def slow_shares(labels, grid, *, num_classes):
    """Compute the shares (h * w, C) of a map (nested lists), pixel by pixel."""
    height, width = len(labels), len(labels[0])
    rows, columns = grid
    counts = [[0] * num_classes for _ in range(rows * columns)]
    sizes = [0] * (rows * columns)
    for y in range(height):
        for x in range(width):
            cell = math.floor((y + 0.5) / height * rows) * columns + math.floor(
                (x + 0.5) / width * columns
            )
            sizes[cell] += 1
            if labels[y][x] != IGNORED:
                counts[cell][labels[y][x]] += 1
    return [
        [c / size if size else 0.0 for c in row] for row, size in zip(counts, sizes, strict=True)
    ]


def slow_sample(shares, number, draws):
    """Choose patches of an image: few patches of their classes, times a random number."""
    classes = range(len(shares[0]))
    patches = [sum(row[c] > 0 for row in shares) for c in classes]
    scores = [
        (sum(patches[c] for c in classes if row[c] > 0) * draw, index)
        for index, (row, draw) in enumerate(zip(shares, draws, strict=True))
        if any(row)
    ]
    return sorted(index for _, index in sorted(scores)[:number])


def slow_dense_knn(bank, shares, queries, *, k, temperature):
    """Compute the label distributions (Q, C) as nested lists."""
    found = []
    for query in queries:
        cosines = [_cosine(query, row) for row in bank]
        nearest = sorted(range(len(bank)), key=lambda i: (-cosines[i], i))[:k]
        weights = [math.exp((cosines[i] - cosines[nearest[0]]) / temperature) for i in nearest]
        found.append(
            [
                sum(w * shares[i][c] for w, i in zip(weights, nearest, strict=True)) / sum(weights)
                for c in range(len(shares[0]))
            ]
        )
    return found


def slow_classes(prediction, grid, size):
    """Enlarge distributions (h * w, C) to (H, W) bilinearly and take the largest class."""
    (rows, columns), (height, width) = grid, size
    result = []
    for y in range(height):
        top, below, down = _neighbours(y, height, rows)
        line = []
        for x in range(width):
            left, right, along = _neighbours(x, width, columns)
            corners = (
                ((1 - down) * (1 - along), top * columns + left),
                ((1 - down) * along, top * columns + right),
                (down * (1 - along), below * columns + left),
                (down * along, below * columns + right),
            )
            mixed = [
                sum(w * prediction[place][c] for w, place in corners)
                for c in range(len(prediction[0]))
            ]
            line.append(mixed.index(max(mixed)))
        result.append(line)
    return result


def slow_mean_iou(predictions, truths, *, num_classes):
    """Compute the mean IoU of pairs of maps, over the classes that occur in either."""
    ratios = []
    for c in range(num_classes):
        both = either = 0
        for found, true in zip(predictions, truths, strict=True):
            for found_row, true_row in zip(found, true, strict=True):
                for a, b in zip(found_row, true_row, strict=True):
                    if b != IGNORED:
                        both += a == b == c
                        either += c in (a, b)
        if either:
            ratios.append(both / either)
    return sum(ratios) / len(ratios)


def _neighbours(pixel, pixels, cells):
    place = min(max((pixel + 0.5) * cells / pixels - 0.5, 0), cells - 1)
    first = math.floor(place)
    return first, min(first + 1, cells - 1), place - first


def _cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
