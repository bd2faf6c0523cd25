"""Histograms of similarities, pair by pair."""

import math


def slow_similarity_histograms(first, second, labels, bins):
    """Compute ``similarity_histograms`` as lists of counts by kind of pair."""
    counts = {kind: [0] * bins for kind in ("positive", "same_class", "other")}
    for i, a in enumerate(first.tolist()):
        for j, b in enumerate(second.tolist()):
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            cosine = dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
            same = labels[i] == labels[j]
            kind = "positive" if i == j else "same_class" if same else "other"
            place = min(int((cosine + 1) / 2 * bins), bins - 1)
            counts[kind][place] += 1
    return counts
