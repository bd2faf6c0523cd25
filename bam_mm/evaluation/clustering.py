"""k-means clustering of frozen features, compared with the class labels (paper, Fig. 7)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

import numpy as np
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from bam_mm.errors import InputError, listing
from bam_mm.evaluation.feature_checks import check_rows


@dataclass(frozen=True)
class Draw:
    """The classes that one clustering uses, and the seed of its k-means.

    Attributes:
        number: Index of the draw, from 0.
        classes: Sorted class indices. The number of clusters equals the number of classes.
        seed: Random seed of k-means.
    """

    number: int
    classes: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class ClusterScore:
    """Agreement between clusters and classes.

    Attributes:
        nmi: Mutual information, normalised by the arithmetic mean of both entropies.
        ari: Adjusted Rand index, 0 at chance level.
    """

    nmi: float
    ari: float


def draw_classes(num_classes: int, count: int, *, draws: int = 10, seed: int = 0) -> list[Draw]:
    """Draw several sets of classes, each without replacement.

    A draw depends on the seed, the count and its own number only, so additional draws or further
    counts do not change it.

    Args:
        num_classes: Number of classes to draw from.
        count: Number of classes in each draw.
        draws: Number of draws.
        seed: Random seed.

    Returns:
        The draws, ordered by their number.

    Raises:
        InputError: If ``count`` is below 2 or above ``num_classes``, or ``draws`` is below 1.
    """
    if not 2 <= count <= num_classes:
        raise InputError(
            f"clustering into {count} classes of a data set of {num_classes}: choose from 2 to "
            f"{num_classes}"
        )
    if draws < 1:
        raise InputError(f"draws={draws}: set at least 1; the paper uses 10")
    result = []
    for number in range(draws):
        rng = np.random.default_rng([seed, count, number])
        classes = np.sort(rng.choice(num_classes, size=count, replace=False))
        result.append(Draw(number, tuple(classes.tolist()), int(rng.integers(2**31))))
    return result


def cluster(
    features: Tensor,
    labels: Tensor,
    draw: Draw,
    *,
    n_init: int = 10,
    images_per_class: int | None = None,
    normalise: bool = False,
) -> ClusterScore:
    """Cluster the images of the drawn classes and compare the clusters with the labels.

    Args:
        features: (N, D) features of the images of all classes.
        labels: (N,) integer class labels.
        draw: The classes to cluster, and the seed of k-means.
        n_init: Number of k-means initialisations, of which the best is kept.
        images_per_class: Number of images of each class to use, taken from the front; None uses
            all.
        normalise: Whether to scale features to unit length first.

    Returns:
        The scores of the clustering.

    Raises:
        InputError: If a drawn class has no image or fewer than ``images_per_class``, or a feature
            is not finite.
    """
    check_rows("features", features, labels)
    rows = []
    for number in draw.classes:
        of_class = (labels == number).nonzero().flatten()
        wanted = images_per_class or 1
        if len(of_class) < wanted:
            raise InputError(
                f"clustering: class {number} has {len(of_class)} images, {wanted} are needed: add "
                "images, or lower images_per_class"
            )
        rows.extend(of_class[:images_per_class].tolist())
    if len(rows) < len(draw.classes):
        raise InputError(
            f"clustering: {len(rows)} images for {len(draw.classes)} clusters: add images, or "
            "raise images_per_class"
        )
    chosen = features[rows].float()
    if normalise:
        chosen = F.normalize(chosen, dim=1)
    truth = labels[rows].cpu().numpy()
    kmeans = KMeans(n_clusters=len(draw.classes), n_init=n_init, random_state=draw.seed)
    clusters = kmeans.fit_predict(chosen.cpu().numpy())
    return ClusterScore(
        nmi=float(normalized_mutual_info_score(truth, clusters)),
        ari=float(adjusted_rand_score(truth, clusters)),
    )


def clustering_curve(
    features: Tensor,
    labels: Tensor,
    counts: Sequence[int],
    *,
    num_classes: int,
    draws: int = 10,
    seed: int = 0,
    on_draw: Callable[[Draw, ClusterScore], None] = lambda draw, score: None,
    **settings,
) -> dict[int, list[ClusterScore]]:
    """Cluster several draws for each number of classes.

    Args:
        features: (N, D) features of the images.
        labels: (N,) integer class labels in [0, num_classes).
        counts: Numbers of classes to cluster, all different.
        num_classes: Number of classes of the data set.
        draws: Number of draws for each number of classes.
        seed: Random seed of the draws.
        on_draw: Called after each clustering, with the draw and its score.
        **settings: Further arguments of :func:`cluster`.

    Returns:
        The scores of the draws, by number of classes.

    Raises:
        InputError: If an argument is out of range, a feature is not finite or a drawn class has no
            image (all checked before the first clustering), or a class has fewer images than
            ``images_per_class``.
    """
    check_rows("features", features, labels, num_classes=num_classes)
    if not counts or len(set(counts)) != len(counts):
        raise InputError(f"numbers of classes {list(counts)}: set one, or several different ones")
    drawn = {n: draw_classes(num_classes, n, draws=draws, seed=seed) for n in counts}
    present = set(labels.unique().tolist())
    empty = sorted({c for group in drawn.values() for d in group for c in d.classes} - present)
    if empty:
        raise InputError(
            f"clustering: class {listing(empty, 10)} has no image: add images, or delete the class"
        )
    scores: dict[int, list[ClusterScore]] = {}
    for count, group in drawn.items():
        scores[count] = []
        for draw in group:
            scores[count].append(cluster(features, labels, draw, **settings))
            on_draw(draw, scores[count][-1])
    return scores


def summarise(scores: Sequence[ClusterScore]) -> dict[str, float]:
    """Compute the mean and the standard deviation over draws.

    Args:
        scores: Scores of the draws, at least one.

    Returns:
        Dict with the keys ``nmi``, ``nmi_std``, ``ari`` and ``ari_std``. The standard deviations
        are those of the population, divided by the number of draws.
    """
    summary = {}
    for name in ("nmi", "ari"):
        values = [getattr(score, name) for score in scores]
        summary[name], summary[f"{name}_std"] = fmean(values), pstdev(values)
    return summary
