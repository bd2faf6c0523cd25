"""Detectors of configs/det: RoIAlign gets contiguous maps, whatever the backbone returns.

mmcv's compiled RoIAlign reads a channels-last map as if it were contiguous, without an error.
"""

from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm.launch.config import load_config
from bam_mm.registry import MODELS

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / "configs/det"
# The models of the configs with 36 epochs are those with 12.
PATHS = sorted(path for path in CONFIGS.glob("*.py") if "-36e_" not in path.stem)
TOY = CONFIGS / "vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy.py"


def build(path):
    config = load_config(path)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    return MODELS.build(config.model)


def pooling_inputs(model):
    """Record every map that a RoIAlign of the model gets, and the maps before the last neck."""
    from mmcv.ops import RoIAlign

    pooled, before = [], []
    for module in model.modules():
        if isinstance(module, RoIAlign):
            module.register_forward_pre_hook(lambda _, given: pooled.append(given[0]))
    model.neck[-1].register_forward_pre_hook(lambda _, given: before.extend(given[0]))
    return pooled, before


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
@torch.no_grad()
def test_maps_are_contiguous_even_if_the_convolutions_are_channels_last(path):
    model = build(path).eval()
    pooled, before = pooling_inputs(model)
    images = torch.zeros(1, 3, 64, 64).to(memory_format=torch.channels_last)
    maps = model.extract_feat(images)
    # Boxes of all scales, so that each map is pooled.
    sides = (8, 40, 100, 200, 400, 800)
    boxes = torch.tensor([[0, 0, 0, side, side] for side in sides]).float()
    for extractor in [*model.roi_head.bbox_roi_extractor, *model.roi_head.mask_roi_extractor]:
        extractor(maps[: extractor.num_inputs], boxes)
    assert not all(x.is_contiguous() for x in before)
    assert len({x.shape for x in pooled}) == 4 and len(pooled) >= 4 * 4
    assert all(x.is_contiguous() and x.dtype is torch.float32 for x in pooled)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_training_step_pools_contiguous_maps(precision):
    from mmdet.testing import demo_mm_inputs

    model = build(TOY)
    pooled, before = pooling_inputs(model)
    sizes = [[3, 96, 128]] * 2
    batch = demo_mm_inputs(2, sizes, num_items=[3, 3], num_classes=9, with_mask=True)
    with torch.autocast("cpu", dtype=precision, enabled=precision is torch.bfloat16):
        losses = model(**model.data_preprocessor(batch, True), mode="loss")
    # The maps of a ViT are channels-last without any setting.
    assert not any(x.is_contiguous() for x in before) and before[0].dtype is precision
    assert len(pooled) >= 4 and all(x.is_contiguous() for x in pooled)
    assert all(torch.isfinite(torch.as_tensor(v)).all() for v in losses.values() if v is not None)
