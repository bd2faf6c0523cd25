"""Masks in COCO's two notations, decoded again by pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as coco

from bam_mm.data.outlines import box_of, outlines, run_lengths, segmentation_of


def decoded(segmentation, shape):
    if isinstance(segmentation, list):
        runs = coco.merge(coco.frPyObjects(segmentation, *shape))
    else:
        runs = coco.frPyObjects(segmentation, *shape)
    return coco.decode(runs).astype(bool)


def blob(text):
    return np.array([[c == "#" for c in row] for row in text.split()])


def test_a_rectangle_against_values_by_hand():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 2:5] = True
    # Clockwise from the upper left corner, x before y.
    assert segmentation_of(mask) == [[2.0, 1.0, 5.0, 1.0, 5.0, 3.0, 2.0, 3.0]]
    assert box_of(mask) == [2, 1, 3, 2]
    # Two columns of five and one above, then three times two inside, with three outside between.
    assert run_lengths(mask) == {"counts": [11, 2, 3, 2, 3, 2, 7], "size": [5, 6]}
    assert segmentation_of(mask, crowd=True) == run_lengths(mask)


def test_run_lengths_start_outside():
    assert run_lengths(np.array([[1, 1], [0, 1]])) == {"counts": [0, 1, 1, 2], "size": [2, 2]}


@pytest.mark.parametrize(
    "text, loops, kind",
    [
        ("##.. ###. ..#.", 1, list),
        ("#..# #..#", 2, list),
        ("#. .#", 2, list),  # touching at a corner: two parts
        ("### #.# ###", 2, dict),  # a hole
    ],
)
def test_shapes(text, loops, kind):
    mask = blob(text)
    assert len(outlines(mask)) == loops
    segmentation = segmentation_of(mask)
    assert isinstance(segmentation, kind)
    assert (decoded(segmentation, mask.shape) == mask).all()


def test_any_mask_is_decoded_exactly():
    rng = np.random.default_rng(0)
    polygons = 0
    for _ in range(300):
        mask = rng.random(rng.integers(2, 14, size=2)) < rng.choice([0.2, 0.5, 0.8])
        if not mask.any():
            continue
        segmentation = segmentation_of(mask)
        polygons += isinstance(segmentation, list)
        assert (decoded(segmentation, mask.shape) == mask).all()
        assert coco.toBbox(coco.encode(np.asfortranarray(mask, np.uint8))).tolist() == box_of(mask)
    assert polygons > 50
