"""ContrastiveCrop: sizes of RandomResizedCrop, and centres of a clamped Beta distribution."""

import mmcv
import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import RandomResizedCrop
from scipy import stats

from bam_mm import InputError
from bam_mm.data import BoxStore, ContrastiveCrop
from bam_mm.data.contrastive_crop.crop import draw_centre, place_crop

DRAWS = 10_000
SHAPES = {"wide": (1000, 3000), "tall": (3000, 1000), "square": (2000, 2000)}
# Distance from the distribution that 10,000 draws exceed once in 1,000 times
# (Dvoretzky-Kiefer-Wolfowitz).
BOUND = (np.log(2 / 1e-3) / (2 * DRAWS)) ** 0.5


def coordinates(shape):
    """Return an image whose pixels are their own coordinates: (row, column, 0)."""
    rows, columns = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.stack([rows, columns, np.zeros(shape)], axis=-1).astype(np.float32)


def store(*boxes):
    boxes = torch.tensor(boxes)
    made = BoxStore()
    made.allocate(len(boxes))
    made.update(torch.arange(len(boxes)), boxes)
    return made


@pytest.fixture
def crops(monkeypatch):
    """Function that returns the (top, left, height, width) of n crops, before they are resized."""
    monkeypatch.setattr(mmcv, "imresize", lambda img, *args, **kw: img)

    def draw(transform, shape, n, index=0):
        np.random.seed(7)
        image = coordinates(shape)
        found = [transform(dict(img=image, sample_idx=index))["img"] for _ in range(n)]
        return np.array([[*c[0, 0, :2], *c.shape[:2]] for c in found])

    return draw


def distance(samples, law):
    """Return the largest distance between the samples' distribution function and ``law``."""
    values, counts = np.unique(samples, return_counts=True)
    return np.abs(np.cumsum(counts) / len(samples) - law(values)).max()


def clamped(low, high, edges, alpha=0.6):
    """Return the distribution function of a Beta between edges, clamped to [low, high]."""
    first, last = edges

    def law(t):
        inside = stats.beta.cdf((t - first) / (last - first), alpha, alpha)
        return np.where(t < low, 0.0, np.where(t >= high, 1.0, inside))

    return law


@pytest.mark.parametrize("box", [(0.3, 0.4, 0.6, 0.9), (0.0, 0.0, 1.0, 1.0)])
def test_centres_are_beta_distributed_in_the_box(box):
    np.random.seed(0)
    centres = np.array([draw_centre(box, 0.6) for _ in range(DRAWS)])
    for axis in range(2):
        first, last = box[axis], box[axis + 2]
        inside = (centres[:, axis] - first) / (last - first)
        assert inside.min() >= 0 and inside.max() <= 1
        assert stats.kstest(inside, stats.beta(0.6, 0.6).cdf).pvalue > 0.01
        # The test can fail: it rejects the uniform distribution and a slightly different alpha.
        assert stats.kstest(inside, "uniform").pvalue < 1e-6
        assert stats.kstest(inside, stats.beta(0.5, 0.5).cdf).pvalue < 1e-3
    # The axes are independent.
    assert abs(np.corrcoef(centres.T)[0, 1]) < 4 / DRAWS**0.5


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_crop_centres_follow_the_clamped_distribution_for_any_aspect(crops, shape):
    # A square crop of a tenth of the area, in a box that is partly too close to the image's edge.
    box = (0.05, 0.1, 0.6, 0.7)
    transform = ContrastiveCrop(
        store(box), scale=8, crop_ratio_range=(0.1, 0.1), aspect_ratio_range=(1, 1)
    )
    found = crops(transform, shape, DRAWS)
    side = round((0.1 * shape[0] * shape[1]) ** 0.5)
    assert (found[:, 2:] == side).all()
    for axis in range(2):
        centres = (found[:, axis] + side / 2) / shape[axis]
        half = side / 2 / shape[axis]
        law = clamped(half, 1 - half, (box[axis], box[axis + 2]))
        # Crops start at whole pixels, so compare with the distribution half a pixel further.
        step = 0.5 / shape[axis]
        assert distance(centres, lambda t: law(t + step)) < BOUND  # noqa: B023
        assert (centres == centres.min()).mean() == pytest.approx(float(law(half)), abs=0.02)
        other = clamped(half, 1 - half, (box[axis], box[axis + 2]), alpha=1.0)
        assert distance(centres, lambda t: other(t + step)) > 3 * BOUND  # noqa: B023


def test_crops_stay_in_the_image(crops):
    corners = [(0, 0, 0.01, 0.01), (0, 0.99, 0.01, 1), (0.99, 0, 1, 0.01), (0.99, 0.99, 1, 1)]
    transform = ContrastiveCrop(store(*(tuple(map(float, b)) for b in corners)), scale=8)
    for index, (top, left, _, _) in enumerate(corners):
        found = crops(transform, (60, 90), 200, index)
        assert (found[:, :2] >= 0).all()
        assert (found[:, 0] + found[:, 2] <= 60).all() and (found[:, 1] + found[:, 3] <= 90).all()
        # So close to a corner, every crop touches it.
        touches = (found[:, 0] == 0) if top == 0 else (found[:, 0] + found[:, 2] == 60)
        assert touches.all()
        touches = (found[:, 1] == 0) if left == 0 else (found[:, 1] + found[:, 3] == 90)
        assert touches.all()


def test_place_crop_against_values_by_hand():
    assert place_crop((0.5, 0.5), (20, 40), (100, 200)) == (40, 80)
    assert place_crop((0.05, 0.95), (20, 40), (100, 200)) == (0, 160)
    assert place_crop((0.2, 0.7), (100, 200), (100, 200)) == (0, 0)


@pytest.mark.parametrize("shape", [(300, 900), (900, 300), (500, 500)], ids=str)
def test_sizes_are_those_of_random_resized_crop(crops, shape):
    args = dict(scale=8, crop_ratio_range=(0.05, 0.6))
    ours = crops(ContrastiveCrop(store((0.2, 0.2, 0.5, 0.5)), **args), shape, 4000)
    # Skip the first draws, so that the sizes come from other random numbers.
    plain = RandomResizedCrop(**args)
    theirs = crops(plain, shape, 8000)[4000:]
    for law in (lambda c: c[:, 2] * c[:, 3], lambda c: np.log(c[:, 3] / c[:, 2])):
        assert stats.ks_2samp(law(ours), law(theirs)).pvalue > 0.01


def test_an_inactive_store_has_no_effect():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    idle = BoxStore()
    idle.allocate(1)
    args = dict(scale=16, crop_ratio_range=(0.1, 1), interpolation="bicubic", backend="pillow")
    results = []
    for transform in (RandomResizedCrop(**args), ContrastiveCrop(idle, **args)):
        np.random.seed(3)
        found = [transform(dict(img=image))["img"] for _ in range(50)]
        results.append((np.stack(found), np.random.random_sample(4)))
    (plain, after), (ours, after_ours) = results
    assert np.array_equal(plain, ours) and np.array_equal(after, after_ours)


def test_a_box_of_the_whole_image_leads_to_another_distribution(crops):
    args = dict(scale=8, crop_ratio_range=(0.25, 0.25), aspect_ratio_range=(1, 1))
    plain = crops(RandomResizedCrop(**args), (200, 200), 3000)
    ours = crops(ContrastiveCrop(store((0.0, 0.0, 1.0, 1.0)), **args), (200, 200), 3000)
    assert stats.ks_2samp(plain[:, 0], ours[:, 0]).pvalue < 1e-6


def test_crop_and_resize_are_those_of_random_resized_crop():
    # At the same place and size, all pixels are equal.
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    args = dict(scale=(12, 20), interpolation="bicubic", backend="pillow")
    # Centre of a crop of 30 x 40 at (10, 20): (25, 40) of (50, 70).
    box = (0.5 - 1e-6, 40 / 70 - 1e-6, 0.5 + 1e-6, 40 / 70 + 1e-6)
    plain, ours = RandomResizedCrop(**args), ContrastiveCrop(store(box), **args)
    for transform in (plain, ours):
        transform.rand_crop_params = lambda img: (10, 20, 30, 40)
    plain, ours = (t(dict(img=image, sample_idx=0)) for t in (plain, ours))
    assert np.array_equal(plain["img"], ours["img"]) and ours["img"].shape == (12, 20, 3)
    assert plain["img_shape"] == ours["img_shape"]


def test_wrong_input():
    with pytest.raises(InputError, match="alpha=0: set a positive number"):
        ContrastiveCrop(BoxStore(), alpha=0, scale=8)
    transform = ContrastiveCrop(store((0.0, 0.0, 1.0, 1.0)), scale=8)
    with pytest.raises(InputError, match="provides no 'sample_idx'"):
        transform(dict(img=coordinates((20, 20))))
