"""Weighted kNN in plain Python loops."""

import math


def slow_knn(bank, labels, queries, *, num_classes, k, temperature):
    """Compute the scores (Q, num_classes) as nested lists."""
    scores = []
    for query in queries:
        similar = sorted(
            ((_cosine(query, row), label) for row, label in zip(bank, labels, strict=True)),
            key=lambda pair: -pair[0],
        )
        votes = [0.0] * num_classes
        for similarity, label in similar[:k]:
            votes[label] += math.exp(similarity / temperature)
        scores.append(votes)
    return scores


def _cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
