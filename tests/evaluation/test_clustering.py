"""Clustering: NMI and ARI by hand, draws, k-means on separable features, rejected arguments."""

import math

import numpy as np
import pytest
import torch

from bam_mm import InputError
from bam_mm.evaluation import Draw, cluster, clustering_curve, draw_classes, summarise
from bam_mm.evaluation.clustering import ClusterScore


def blobs(classes=6, each=12, spread=0.05, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes * each) % classes
    centres = torch.eye(classes)
    return centres[labels] + spread * torch.randn(len(labels), classes, generator=g), labels


def test_separable_classes_are_found():
    features, labels = blobs()
    score = cluster(features, labels, Draw(0, (0, 2, 3, 5), 7))
    assert (score.nmi, score.ari) == (pytest.approx(1), pytest.approx(1))


def test_nmi_and_ari_by_hand():
    # Two clusters of four images each, of the classes 0 0 0 1 and 1 1 1 1. Class 0 has three images
    # and class 1 has five.
    features = torch.tensor([[0.0], [0.1], [0.2], [0.15], [9.0], [9.1], [9.2], [9.15]])
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])
    score = cluster(features, labels, Draw(0, (0, 1), 0))

    def entropy(*counts):
        return -sum(c / 8 * math.log(c / 8) for c in counts)

    mutual = entropy(3, 5) + entropy(4, 4) - entropy(3, 1, 4)
    assert score.nmi == pytest.approx(mutual / ((entropy(3, 5) + entropy(4, 4)) / 2))
    # Of 28 pairs, C(3,2) + C(1,2) + C(4,2) = 9 share both class and cluster, 3 + 10 = 13 share the
    # class, and 6 + 6 = 12 share the cluster.
    expected = 13 * 12 / 28
    assert score.ari == pytest.approx((9 - expected) / ((13 + 12) / 2 - expected))


def test_random_labels_score_zero():
    features, _ = blobs(classes=4, each=200)
    labels = torch.from_numpy(np.random.default_rng(0).permutation(800) % 4)
    score = cluster(features, labels, Draw(0, (0, 1, 2, 3), 0))
    assert score.nmi < 0.02 and abs(score.ari) < 0.02


def test_draws_depend_on_seed_count_and_number_only():
    ten = draw_classes(20, 5, draws=10, seed=3)
    assert ten[:4] == draw_classes(20, 5, draws=4, seed=3)
    assert ten != draw_classes(20, 5, draws=10, seed=4)
    assert all(len(set(d.classes)) == 5 and list(d.classes) == sorted(d.classes) for d in ten)
    assert len({d.classes for d in ten}) == 10 and len({d.seed for d in ten}) == 10
    seen = [c for d in draw_classes(20, 5, draws=400) for c in d.classes]
    counts = np.bincount(seen, minlength=20)  # 100 expected, standard deviation 8.7
    assert counts.min() > 60 and counts.max() < 140
    assert draw_classes(4, 4, draws=2)[0].classes == (0, 1, 2, 3)


def test_curve_consists_of_its_draws():
    features, labels = blobs(spread=0.5)
    seen = []
    curve = clustering_curve(
        features, labels, [2, 4], num_classes=6, draws=3, seed=1, n_init=2,
        on_draw=lambda draw, score: seen.append((draw, score)),
    )  # fmt: skip
    alone = clustering_curve(features, labels, [4], num_classes=6, draws=3, seed=1, n_init=2)
    assert curve[4] == alone[4] and [s for _, s in seen] == curve[2] + curve[4]
    for draw, score in seen:
        assert score == cluster(features, labels, draw, n_init=2)
    assert summarise([ClusterScore(0.2, 0.0), ClusterScore(0.4, 0.2)]) == pytest.approx(
        dict(nmi=0.3, nmi_std=0.1, ari=0.1, ari_std=0.1)
    )


def test_options():
    features, labels = blobs(each=6)
    stretched = features * torch.linspace(1, 50, len(features))[:, None]
    draw = Draw(0, (0, 1, 2, 3), 0)
    plain = cluster(stretched, labels, draw)
    assert plain.ari < 0.6
    assert cluster(stretched, labels, draw, normalise=True).ari == pytest.approx(1)
    # Only the first two images of each class are used; the features of the others are wrong.
    wrong = features.clone()
    wrong[12:] = 0
    assert cluster(wrong, labels, draw, images_per_class=2).ari == pytest.approx(1)


def test_wrong_arguments():
    features, labels = blobs()
    few = labels.clone()
    few[few == 3] = 2
    broken = features.clone()
    broken[5] = float("inf")
    curve = dict(features=features, labels=labels, counts=[3], num_classes=6)
    for change, words in [
        (dict(counts=[2, 7]), "clustering into 7 classes of a data set of 6: choose from 2 to 6"),
        (dict(counts=[1]), "choose from 2"),
        (dict(counts=[]), "set one"),
        (dict(labels=few, counts=[6]), "class 3 has no image"),
        (dict(images_per_class=13), "has 12 images, 13 are needed"),
        (dict(features=broken), "row 5: check the checkpoint"),
        (dict(num_classes=5), "labels run from 0 to 5"),
        (dict(draws=0), "draws=0"),
    ]:
        with pytest.raises(InputError, match=words):
            clustering_curve(**{**curve, **change})
