"""k-means on frozen features of some classes, against their labels (paper, Fig. 7)."""

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
    """Which classes one clustering sees, and the seed of its k-means.

    Attributes:
        number: Of the draw, from 0.
        classes: Sorted class numbers; as many clusters are sought.
        seed: Of k-means.
    """

    number: int
    classes: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class ClusterScore:
    """How well clusters and classes agree.

    Attributes:
        nmi: Normalised mutual information, divided by the arithmetic mean of both entropies.
        ari: Adjusted Rand index, 0 for chance.
    """

    nmi: float
    ari: float


def draw_classes(num_classes: int, count: int, *, draws: int = 10, seed: int = 0) -> list[Draw]:
    """Draw classes without replacement, several times.

    A draw hangs on (seed, count, its number) alone: more draws, or other counts beside this one,
    change none of them.

    Args:
        num_classes: Number of classes to draw from.
        count: Number of classes in a draw.
        draws: Number of draws.
        seed: Seed.

    Returns:
        The draws.

    Raises:
        InputError: If there are fewer classes than ``count``, or fewer than two are asked for.
    """
    if not 2 <= count <= num_classes:
        raise InputError(
            f"clustering into {count} classes of a data set of {num_classes}: choose from 2 to "
            f"{num_classes}"
        )
    if draws < 1:
        raise InputError(f"draws={draws}: at least one is needed; the paper has 10")
    made = []
    for number in range(draws):
        rng = np.random.default_rng([seed, count, number])
        classes = np.sort(rng.choice(num_classes, size=count, replace=False))
        made.append(Draw(number, tuple(classes.tolist()), int(rng.integers(2**31))))
    return made


def cluster(
    features: Tensor,
    labels: Tensor,
    draw: Draw,
    *,
    n_init: int = 10,
    images_per_class: int | None = None,
    normalise: bool = False,
) -> ClusterScore:
    """Cluster the images of the drawn classes, and compare with their labels.

    Args:
        features: (N, D) of all classes.
        labels: (N,) integers.
        draw: The classes and the seed.
        n_init: Starts of k-means, the best of which counts.
        images_per_class: How many images of each class take part, the first ones; None takes all.
        normalise: Whether features are scaled to length 1 first.

    Returns:
        The scores.

    Raises:
        InputError: If a drawn class has no image, or fewer than asked for, or a feature is not
            finite.
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
        raise InputError(f"clustering: {len(rows)} images for {len(draw.classes)} clusters")
    chosen = features[rows].float()
    if normalise:
        chosen = F.normalize(chosen, dim=1)
    truth = labels[rows].cpu().numpy()
    means = KMeans(n_clusters=len(draw.classes), n_init=n_init, random_state=draw.seed)
    found = means.fit_predict(chosen.cpu().numpy())
    return ClusterScore(
        nmi=float(normalized_mutual_info_score(truth, found)),
        ari=float(adjusted_rand_score(truth, found)),
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
        features: (N, D).
        labels: (N,) integers in [0, num_classes).
        counts: Numbers of classes, different ones.
        num_classes: Number of classes of the data set.
        draws: Draws for each number of classes.
        seed: Of the draws.
        on_draw: Called after each.
        **settings: For :func:`cluster`.

    Returns:
        The scores of the draws, by number of classes.

    Raises:
        InputError: As :func:`draw_classes` and :func:`cluster`, before anything is clustered.
    """
    check_rows("features", features, labels, num_classes=num_classes)
    if not counts or len(set(counts)) != len(counts):
        raise InputError(f"numbers of classes {list(counts)}: give one, or several different ones")
    drawn = {n: draw_classes(num_classes, n, draws=draws, seed=seed) for n in counts}
    present = set(labels.unique().tolist())
    empty = sorted({c for made in drawn.values() for d in made for c in d.classes} - present)
    if empty:
        raise InputError(
            f"clustering: class {listing(empty, 10)} has no image: add images, or delete the class"
        )
    scores: dict[int, list[ClusterScore]] = {}
    for count, made in drawn.items():
        scores[count] = []
        for draw in made:
            scores[count].append(cluster(features, labels, draw, **settings))
            on_draw(draw, scores[count][-1])
    return scores


def summarise(scores: Sequence[ClusterScore]) -> dict[str, float]:
    """Mean and standard deviation over draws.

    Args:
        scores: Of the draws.

    Returns:
        ``nmi``, ``nmi_std``, ``ari``, ``ari_std``; the deviations are of these draws themselves
        (divided by their number).
    """
    summary = {}
    for name in ("nmi", "ari"):
        values = [getattr(score, name) for score in scores]
        summary[name], summary[f"{name}_std"] = fmean(values), pstdev(values)
    return summary
