"""The vectorised crop equals Pillow's: same filter, same rounding except for single grey levels."""

import warnings

import numpy as np
import pytest

from bam_mm.data.crop_resize import box_in_reduced, crop_with_pillow, crop_with_torch
from tests.data.photographs import photograph


def noise(height=150, width=200, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    "box,size",
    [
        ((0, 0, 150, 200), (32, 32)),  # much smaller
        ((10, 20, 110, 160), (96, 96)),
        ((3, 5, 120, 60), (64, 48)),  # another aspect
        ((40, 50, 70, 75), (96, 96)),  # enlarged
        ((40, 50, 136, 146), (96, 96)),  # unchanged
        ((7, 9, 8, 10), (16, 16)),  # one pixel
    ],
)
@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_those_of_pillow(box, size, flip):
    # Different filters differ most on noise. There Pillow, which may shrink the height before the
    # width, clamps other overshoots between the two passes.
    for image, mean, most in ((photograph(0, 200), 0.15, 8), (noise(), 0.6, 30)):
        ours, theirs = (f(image, box, size, flip) for f in (crop_with_torch, crop_with_pillow))
        assert ours.shape == theirs.shape == (*size, 3) and ours.dtype == np.uint8
        difference = np.abs(ours.astype(int) - theirs)
        assert difference.max() <= most and difference.mean() < mean


def test_a_flip_only_swaps_left_and_right():
    image, box = noise(), (10, 20, 110, 160)
    plain, flipped = (crop_with_torch(image, box, (32, 48), flip) for flip in (False, True))
    assert np.array_equal(flipped, plain[:, ::-1]) and not np.array_equal(flipped, plain)


def test_shrinking_does_not_alias():
    board = np.indices((128, 128)).sum(axis=0) % 2 * 255
    board = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    inside = crop_with_torch(board, (0, 0, 128, 128), (37, 37))[2:-2, 2:-2].astype(int)
    assert np.abs(inside - 127.5).max() < 4


def test_read_only_images_are_supported_and_remain_unchanged():
    image = noise()
    wanted = crop_with_torch(image, (0, 0, 150, 200), (32, 32))
    kept = image.copy()
    image.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(crop_with_torch(image, (0, 0, 150, 200), (32, 32)), wanted)
    assert np.array_equal(image, kept)


def test_boxes_in_a_coarser_image_against_values_by_hand():
    assert box_in_reduced((10, 20, 30, 61), (100, 200), (50, 100)) == (5, 10, 15, 30)
    assert box_in_reduced((0, 0, 101, 201), (101, 201), (51, 101)) == (0, 0, 51, 101)
    assert box_in_reduced((99, 0, 100, 1), (100, 200), (25, 50)) == (24, 0, 25, 1)
