"""ViT and CAFormer call torch's fused attention, which stores no attention matrix."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope

from bam_mm.registry import MODELS
from tests.models import small_caformer
from tests.models.test_activation_checkpointing import VIT


@pytest.mark.parametrize(
    "config,blocks", [(VIT, 3), (small_caformer.SMALL, 3)], ids=["vit", "caformer"]
)
def test_every_block_calls_the_fused_attention(config, blocks, monkeypatch):
    init_default_scope("mmpretrain")
    shapes = []
    fused = F.scaled_dot_product_attention

    def spy(query, key, value, *args, **kwargs):
        shapes.append((query.shape, key.shape, value.shape))
        return fused(query, key, value, *args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    # mmpretrain keeps its own reference from import time.
    monkeypatch.setattr("mmpretrain.models.utils.attention.scaled_dot_product_attention", spy)
    model = MODELS.build(dict(config))
    model(torch.randn(2, 3, 16, 16))
    assert len(shapes) == blocks
    assert all(q == k == v and q[0] == 2 for q, k, v in shapes)


def test_mmpretrains_reference_is_torchs_function():
    from mmpretrain.models.utils import attention

    assert attention.scaled_dot_product_attention is F.scaled_dot_product_attention
