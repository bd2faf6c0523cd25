"""Photometric augmentation: one distribution, and the same result in both places."""

import numpy as np
import pytest
import torch

from bam_mm import InputError
from bam_mm.data.photometric.draw import (
    PhotometricDraw,
    PhotometricSpec,
    draw,
    resolve_place,
    specs_of_views,
)
from bam_mm.data.photometric.in_workers import apply_to_image
from bam_mm.data.photometric.on_device import apply_to_batch


def natural_image(seed=0, size=64):
    """Return smooth colours with edges, as in the images that blur and hue act on in practice."""
    r = np.random.RandomState(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [
        128 + 90 * np.sin(6 * (a * y + b * x) + c) for a, b, c in r.uniform(-1.5, 1.5, size=(3, 3))
    ]
    image = np.stack(waves, axis=-1)
    image[20:40, 10:30] = r.uniform(0, 255, size=3)
    return np.clip(image, 0, 255).astype(np.uint8)


def nothing(n=1):
    return PhotometricDraw(
        jitter=np.zeros(n, bool),
        factors=np.tile([1.0, 1.0, 1.0, 0.0], (n, 1)),
        order=np.tile(np.arange(4), (n, 1)),
        gray=np.zeros(n, bool),
        blur=np.zeros(n),
        solarize=np.zeros(n, bool),
    )


def both(image, drawn):
    pil = apply_to_image(image, drawn)
    batch = apply_to_batch(torch.tensor(image).permute(2, 0, 1)[None], drawn)
    return pil.astype(float), batch[0].permute(1, 2, 0).numpy().astype(float)


def change(**fields):
    drawn = nothing()
    for name, value in fields.items():
        getattr(drawn, name)[0] = value
    return drawn


@pytest.mark.parametrize(
    "drawn,mean,most",
    [
        (nothing(), 0, 0),
        # PIL truncates after each step, and its hue step passes through 8-bit HSV.
        (change(jitter=True, factors=[1.4, 1, 1, 0]), 1.2, 8),
        (change(jitter=True, factors=[0.6, 1, 1, 0]), 1.2, 8),
        (change(jitter=True, factors=[1, 1.4, 1, 0]), 1.2, 8),
        (change(jitter=True, factors=[1, 0.6, 1, 0]), 1.2, 8),
        (change(jitter=True, factors=[1, 1, 1.4, 0]), 1.2, 8),
        (change(jitter=True, factors=[1, 1, 0.6, 0]), 1.2, 8),
        # PIL keeps hue and saturation in 8 bits each.
        (change(jitter=True, factors=[1, 1, 1, 0.1]), 1.5, 8),
        (change(jitter=True, factors=[1, 1, 1, -0.1]), 1.5, 8),
        (change(gray=True), 0.6, 1.01),
        # PIL approximates the Gaussian by three box filters.
        (change(blur=0.5), 1.5, 16),
        (change(blur=2.0), 1.5, 16),
        (change(solarize=True), 0, 0),
    ],
)
def test_worker_and_device_have_the_same_effect_on_an_image(drawn, mean, most):
    pil, batch = both(natural_image(), drawn)
    difference = np.abs(pil - batch)
    assert difference.mean() <= mean
    assert difference.max() <= most


def test_every_operation_changes_the_image():
    image = natural_image()
    for drawn in (
        change(jitter=True, factors=[1.4, 1, 1, 0]),
        change(jitter=True, factors=[1, 1.4, 1, 0]),
        change(jitter=True, factors=[1, 1, 0.6, 0]),
        change(jitter=True, factors=[1, 1, 1, 0.1]),
        change(gray=True),
        change(blur=2.0),
        change(solarize=True),
    ):
        for result in both(image, drawn):
            assert np.abs(result - image).mean() > 2


def test_each_image_of_a_batch_has_its_own_parameters_and_order():
    np.random.seed(3)
    drawn = draw(PhotometricSpec(blur_prob=0.5, solarize_prob=0.3), 24)
    images = np.stack([natural_image(seed) for seed in range(24)])
    batch = apply_to_batch(torch.tensor(images).permute(0, 3, 1, 2), drawn)
    for index, image in enumerate(images):
        alone = apply_to_image(image, drawn, index).astype(float)
        together = batch[index].permute(1, 2, 0).numpy()
        assert np.abs(alone - together).mean() < 3.0, index


def test_draws_follow_the_given_probabilities_and_ranges():
    np.random.seed(0)
    n = 40_000
    spec = PhotometricSpec(
        jitter_prob=0.8, gray_prob=0.2, blur_prob=0.1, solarize_prob=0.2, hue=0.1, saturation=0.2
    )
    drawn = draw(spec, n)
    for found, wanted in (
        (drawn.jitter, 0.8),
        (drawn.gray, 0.2),
        (drawn.blur > 0, 0.1),
        (drawn.solarize, 0.2),
    ):
        assert abs(found.mean() - wanted) < 4 * (wanted * (1 - wanted) / n) ** 0.5
    low, high = drawn.factors.min(axis=0), drawn.factors.max(axis=0)
    np.testing.assert_allclose(low, [0.6, 0.6, 0.8, -0.1], atol=1e-3)
    np.testing.assert_allclose(high, [1.4, 1.4, 1.2, 0.1], atol=1e-3)
    # Uniform: mean in the middle, variance (b - a)^2 / 12.
    width = high - low
    assert np.abs(drawn.factors.mean(axis=0) - [1, 1, 1, 0]).max() < 0.004
    np.testing.assert_allclose(drawn.factors.var(axis=0), width**2 / 12, rtol=0.03)
    sigma = drawn.blur[drawn.blur > 0]
    assert sigma.min() >= 0.1 and sigma.max() <= 2.0 and abs(sigma.mean() - 1.05) < 0.04
    # Each of the 24 orders is equally likely.
    orders, counts = np.unique(drawn.order, axis=0, return_counts=True)
    assert len(orders) == 24
    assert np.abs(counts / n - 1 / 24).max() < 4 * (1 / 24 / n) ** 0.5
    independent = np.mean(drawn.jitter & drawn.gray)
    assert abs(independent - 0.16) < 4 * (0.16 * 0.84 / n) ** 0.5


def test_both_places_produce_the_same_distribution_of_pixels():
    np.random.seed(1)
    image, n = natural_image(4, 32), 600
    spec = PhotometricSpec(blur_prob=0.5, solarize_prob=0.2)
    drawn = draw(spec, n)
    pil = np.stack([apply_to_image(image, drawn, i) for i in range(n)]).astype(float)
    again = draw(spec, n)
    repeated = torch.tensor(image).permute(2, 0, 1).expand(n, 3, 32, 32)
    batch = apply_to_batch(repeated, again).permute(0, 2, 3, 1).numpy()
    for statistic in (np.mean, np.std):
        a, b = statistic(pil, axis=(1, 2, 3)), statistic(batch, axis=(1, 2, 3))
        error = (a.var() / n + b.var() / n) ** 0.5
        assert abs(a.mean() - b.mean()) < 4 * error
        assert abs(a.std() - b.std()) < 0.15 * a.std()


def test_byol_blurs_and_solarizes_each_view_differently():
    specs = specs_of_views(2, 6)
    assert [s.blur_prob for s in specs] == [1.0, 0.1] + [0.5] * 6
    assert [s.solarize_prob for s in specs] == [0.0, 0.2] + [0.0] * 6
    assert all((s.jitter_prob, s.gray_prob, s.hue) == (0.8, 0.2, 0.1) for s in specs)


def test_wrong_settings():
    with pytest.raises(InputError, match=r"3 entries.*2 global and 0 local"):
        specs_of_views(2, 0, [{}, {}, {}])
    with pytest.raises(InputError, match="no field"):
        specs_of_views(2, 0, [dict(blurr_prob=1.0), {}])
    with pytest.raises(InputError, match="'gpu'"):
        resolve_place("gpu")
    assert resolve_place("auto") == ("device" if torch.cuda.is_available() else "worker")
