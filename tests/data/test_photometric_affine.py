"""One affine colour map an image: where it is exact, and how near it is where it is not."""

import numpy as np
import pytest
import torch

from bam_mm.data.photometric import PhotometricSpec, draw
from bam_mm.data.photometric_affine import GRID, augment_affine, fit_colour_maps
from bam_mm.data.photometric_batch import apply_to_batch
from bam_mm.data.photometric_pil import apply_to_image
from tests.data.photographs import photograph

PLAIN = PhotometricSpec(jitter_prob=0, gray_prob=0, blur_prob=0)


def batch(n, size=96, picture=0):
    return torch.from_numpy(photograph(picture, size)).permute(2, 0, 1).repeat(n, 1, 1, 1)


def midtones(n=8, size=GRID):
    """Random colours from 90 to 140: no factor of at most 1.4 clamps them."""
    values = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))
    return 90 + 50 * values


@pytest.mark.parametrize("gray_prob", [0.0, 1.0])
def test_without_hue_and_clamps_it_is_the_chain_of_operations(gray_prob):
    np.random.seed(0)
    spec = PhotometricSpec(jitter_prob=1, hue=0, gray_prob=gray_prob, blur_prob=0, brightness=0.2)
    drawn, images = draw(spec, 8), midtones()
    # The grid is the whole image here; what is left is the ridge.
    torch.testing.assert_close(
        augment_affine(images, drawn), apply_to_batch(images, drawn), atol=0.3, rtol=0
    )


def test_everything_but_the_jitter_is_the_exact_form_normalised():
    mean, std = (120.0, 110.0, 100.0), (50.0, 60.0, 70.0)
    images = batch(6)
    for fields in (dict(), dict(gray_prob=1), dict(blur_prob=1), dict(solarize_prob=1)):
        np.random.seed(0)
        drawn = draw(PhotometricSpec(**{**vars(PLAIN), **fields}), 6)
        exact = apply_to_batch(images, drawn)
        wanted = (exact - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
        # Between 127.5 and 128 a grey (not whole) value may fall on either side of the threshold.
        torch.testing.assert_close(
            augment_affine(images, drawn, mean, std), wanted, atol=1e-4, rtol=0
        )


def test_values_stay_in_their_range():
    np.random.seed(1)
    drawn = draw(PhotometricSpec(jitter_prob=1, solarize_prob=0.3), 40)
    out = augment_affine(batch(40, 48), drawn)
    assert out.min() >= -1e-3 and out.max() <= 255 + 1e-3
    assert out.max() > 250 and out.min() < 5


def test_an_image_does_not_depend_on_the_others_of_its_batch():
    np.random.seed(2)
    drawn, n = draw(PhotometricSpec(), 6), 6
    images = torch.cat([batch(3, 48, picture) for picture in (0, 1)])
    together = augment_affine(images, drawn)
    for i in range(n):
        alone = type(drawn)(**{name: value[i : i + 1] for name, value in vars(drawn).items()})
        torch.testing.assert_close(
            augment_affine(images[i : i + 1], alone)[0], together[i], atol=1e-2, rtol=0
        )


def test_colours_that_the_grid_does_not_show_have_a_map_too():
    np.random.seed(3)
    drawn = draw(PhotometricSpec(jitter_prob=1, gray_prob=0, blur_prob=0), 12)
    grey = batch(12, 48).float().mean(dim=1, keepdim=True).round().expand(12, 3, 48, 48)
    one_colour = torch.full((12, 3, 48, 48), 77.0)
    for images, near in ((grey, 4.0), (one_colour, 0.01)):
        matrix, _ = fit_colour_maps(images, drawn)
        assert torch.isfinite(matrix).all() and matrix.abs().max() < 4
        off = augment_affine(images, drawn) - apply_to_batch(images, drawn)
        assert off.abs().mean() < near


@pytest.mark.parametrize("shift", [0.1, -0.1])
def test_hue_turns_the_way_of_the_exact_form(shift):
    drawn = draw(PLAIN, 1)
    drawn.jitter[:], drawn.factors[:] = True, [1, 1, 1, shift]
    images = batch(1, picture=1)
    out, exact = augment_affine(images, drawn), apply_to_batch(images, drawn)
    drawn.factors[:, 3] = -shift
    other = apply_to_batch(images, drawn)
    near, far, own = ((out - x).abs().mean() for x in (exact, other, images.float()))
    assert near < 0.4 * own and near < 0.3 * far


@pytest.mark.parametrize("picture", [0, 1])
def test_the_distribution_of_pixels_is_near_to_pillows(picture):
    n = 300
    np.random.seed(picture)
    drawn = draw(PhotometricSpec(blur_prob=0.5, solarize_prob=0.2), n)
    image = photograph(picture, 48)
    pillow = np.stack([apply_to_image(image, drawn, i) for i in range(n)]).astype(float)
    affine = augment_affine(batch(n, 48, picture), drawn).permute(0, 2, 3, 1).double().numpy()
    own = np.abs(pillow - image).mean()
    assert np.abs(affine - pillow).mean() < 0.2 * own
    moments = ((x.mean(axis=(1, 2)), x.std(axis=(1, 2))) for x in (pillow, affine))
    (pillow_mean, pillow_std), (affine_mean, affine_std) = moments
    assert np.abs((affine_mean - pillow_mean).mean(axis=0)).max() < 3  # grey levels
    assert np.abs(affine_std.mean(axis=0) / pillow_std.mean(axis=0) - 1).max() < 0.06
    # As different from draw to draw, and the same draws make the same difference.
    assert np.abs(affine_mean.std(axis=0) / pillow_mean.std(axis=0) - 1).max() < 0.08
    for channel in range(3):
        assert np.corrcoef(affine_mean[:, channel], pillow_mean[:, channel])[0, 1] > 0.99
    levels = [5, 25, 50, 75, 95]
    assert np.abs(np.percentile(affine, levels) - np.percentile(pillow, levels)).max() < 9
