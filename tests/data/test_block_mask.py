"""BEiT's masks: how many patches they hide, and which."""

import numpy as np
import pytest
from mmpretrain.datasets import BEiTMaskGenerator

from bam_mm import InputError
from bam_mm.data import BlockMask


def hidden(generator, seed, count):
    np.random.seed(seed)
    return np.stack([generator.transform({})["mask"] for _ in range(count)])


@pytest.mark.parametrize("size,patches,least", [(6, 14, 3), (8, 25, 5), (14, 75, 16)])
def test_every_patch_can_be_hidden(size, patches, least):
    masks = hidden(BlockMask(size, patches, min_num_patches=least), 0, 200)
    assert masks.shape == (200, size, size) and set(np.unique(masks)) == {0, 1}
    assert (masks.sum(axis=(1, 2)) == patches).all()
    rates = masks.mean(axis=0)
    assert rates.min() > 0
    # Symmetric: the opposite edges are hidden equally often.
    assert np.allclose(rates[0].mean(), rates[-1].mean(), atol=0.06)
    assert np.allclose(rates[:, 0].mean(), rates[:, -1].mean(), atol=0.06)


def test_the_library_never_hides_the_last_row_and_column():
    """The reason for a class of our own; without the flaw, it can be removed."""
    theirs = hidden(BEiTMaskGenerator(6, 14, min_num_patches=3), 0, 200)
    assert not theirs[:, -1].any() and not theirs[:, :, -1].any()


def test_draws_follow_from_the_state_of_numpy():
    made = BlockMask((4, 6), 9, min_num_patches=2)
    assert np.array_equal(hidden(made, 5, 3), hidden(made, 5, 3))
    assert not np.array_equal(hidden(made, 5, 3), hidden(made, 6, 3))


@pytest.mark.parametrize("patches", [0, 36, 40])
def test_impossible_numbers(patches):
    with pytest.raises(InputError, match=f"num_masking_patches={patches}: .* the 36 patches of"):
        BlockMask(6, patches)
