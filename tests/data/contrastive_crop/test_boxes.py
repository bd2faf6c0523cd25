"""Boxes of heat maps: by hand, against the slow reference, and their invariances."""

import pytest
import torch

from bam_mm import InputError
from bam_mm.data.contrastive_crop import boxes_from_heat_maps
from tests.reference.slow_saliency import slow_box


def test_boxes_against_values_by_hand():
    # Enlarged to four pixels, the first of two values has the weights 1, 3/4, 1/4, 0.
    heat = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert boxes_from_heat_maps(heat, (4, 4)).tolist() == [[0, 0, 0.75, 0.75]]
    assert boxes_from_heat_maps(heat, (4, 4), 0.5).tolist() == [[0, 0, 0.5, 0.5]]
    assert boxes_from_heat_maps(heat, (4, 2), 0.5).tolist() == [[0, 0, 0.5, 0.5]]
    assert boxes_from_heat_maps(heat.flip(2), (4, 4), 0.5).tolist() == [[0, 0.5, 0.5, 1]]


def test_the_box_of_a_constant_map_is_the_whole_image():
    for value in (0.0, -3.0, 5.0):
        flat = torch.full((2, 3, 3), value)
        assert boxes_from_heat_maps(flat, (12, 9)).tolist() == [[0, 0, 1, 1]] * 2


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.7])
def test_equals_the_slow_reference(threshold):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(20, 5, 7, generator=generator, dtype=torch.float64) ** 8
    found = boxes_from_heat_maps(maps, (30, 28), threshold)
    wanted = [slow_box(heat.tolist(), (30, 28), threshold) for heat in maps]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), atol=0, rtol=0)
    assert len({tuple(box) for box in wanted}) > 1


def test_unit_offset_and_batch_do_not_matter():
    maps = torch.rand(6, 4, 4, generator=torch.Generator().manual_seed(1)) ** 6
    boxes = boxes_from_heat_maps(maps, (32, 32))
    assert torch.equal(boxes_from_heat_maps(4 * maps - 2, (32, 32)), boxes)
    alone = torch.cat([boxes_from_heat_maps(heat[None], (32, 32)) for heat in maps])
    assert torch.equal(alone, boxes)
    mirrored = boxes_from_heat_maps(maps.transpose(1, 2), (32, 32))
    assert torch.equal(mirrored, boxes[:, [1, 0, 3, 2]])


def test_wrong_input():
    maps = torch.rand(3, 4, 4)
    with pytest.raises(InputError, match=r"threshold=1: heat maps are scaled to \[0, 1\]"):
        boxes_from_heat_maps(maps, (8, 8), 1)
    maps[1, 0, 0] = float("nan")
    with pytest.raises(InputError, match="1 of 3 heat maps have values that are not finite"):
        boxes_from_heat_maps(maps, (8, 8))
