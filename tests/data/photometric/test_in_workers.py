"""Photometric augmentation with OpenCV equals Pillow's: each operation, and as a distribution."""

import numpy as np
import pytest

from bam_mm.data.photometric.draw import PhotometricSpec, draw
from bam_mm.data.photometric.in_workers import apply_to_bgr, apply_to_image
from tests.data.photographs import photograph


def change(**fields):
    drawn = draw(PhotometricSpec(jitter_prob=0, gray_prob=0, blur_prob=0), 1)
    drawn.factors[:], drawn.order[:] = [1, 1, 1, 0], np.arange(4)
    for name, value in fields.items():
        getattr(drawn, name)[0] = value
    return drawn


def both(image, drawn, index=0):
    pillow = apply_to_image(image, drawn, index)
    opencv = apply_to_bgr(np.ascontiguousarray(image[..., ::-1]), drawn, index)[..., ::-1]
    return pillow.astype(float), opencv.astype(float)


@pytest.mark.parametrize("picture", [0, 1])
@pytest.mark.parametrize(
    "drawn,mean,most",
    [
        (change(), 0, 0),
        (change(jitter=True, factors=[1.4, 1, 1, 0]), 0.8, 10),
        (change(jitter=True, factors=[0.6, 1, 1, 0]), 0.8, 10),
        (change(jitter=True, factors=[1, 1.4, 1, 0]), 0.8, 10),
        (change(jitter=True, factors=[1, 0.6, 1, 0]), 0.8, 10),
        (change(jitter=True, factors=[1, 1, 1.4, 0]), 1.0, 12),
        (change(jitter=True, factors=[1, 1, 0.6, 0]), 1.0, 12),
        (change(jitter=True, factors=[1, 1, 1, 0.1]), 0.8, 12),
        (change(jitter=True, factors=[1, 1, 1, -0.1]), 0.8, 12),
        (change(jitter=True, factors=[1.2, 0.7, 1.3, 0.05], order=[3, 1, 0, 2]), 1.2, 14),
        (change(gray=True), 0.1, 1),
        # Pillow approximates the Gaussian by three box filters.
        (change(blur=0.5), 1.5, 24),
        (change(blur=1.0), 1.5, 24),
        (change(blur=2.0), 1.5, 24),
        (change(solarize=True), 0, 0),
    ],
)
def test_each_operation_equals_pillows(picture, drawn, mean, most):
    pillow, opencv = both(photograph(picture), drawn)
    difference = np.abs(pillow - opencv)
    assert difference.mean() <= mean
    assert difference.max() <= most


def test_memory_order_does_not_matter_and_the_image_remains_unchanged():
    image = photograph(1)[..., ::-1]
    drawn = change(jitter=True, factors=[1.2, 0.7, 1.3, 0.05], blur=1.0, solarize=True)
    planar = np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0)
    kept = planar.copy()
    assert np.array_equal(apply_to_bgr(planar, drawn), apply_to_bgr(image.copy(), drawn))
    assert np.array_equal(planar, kept)


@pytest.mark.parametrize("picture", [0, 1])
def test_the_distribution_of_pixels_equals_pillows(picture):
    image, n = photograph(picture, 48), 400
    np.random.seed(picture)
    spec = PhotometricSpec(blur_prob=0.5, solarize_prob=0.2)
    drawn = draw(spec, n)
    pillow, opencv = np.stack([both(image, drawn, i) for i in range(n)], axis=1)
    own = np.abs(pillow - image).mean()  # change by the augmentation itself: 20 to 40 levels
    assert np.abs(pillow - opencv).mean() < min(1.0, 0.05 * own)
    for statistic in (np.mean, np.std):
        a, b = (statistic(x, axis=(1, 2)) for x in (pillow, opencv))  # (n, 3): image, channel
        assert np.abs((a - b).mean(axis=0)).max() < 1.0  # grey levels
        assert np.abs(b.std(axis=0) / a.std(axis=0) - 1).max() < 0.03
    levels = [5, 25, 50, 75, 95]
    assert np.abs(np.percentile(pillow, levels) - np.percentile(opencv, levels)).max() <= 2
