"""CAFormer-M36 as in the released code: number of parameters, GELU, no residual scales."""

import torch
from mmengine.registry import init_default_scope
from timm.models.metaformer import Attention, Scale, StarReLU
from torch import nn

from bam_mm.models import CAFormer, MomentumTeacher
from bam_mm.registry import MODELS
from tests.models import small_caformer

DEPTHS, WIDTHS = (3, 12, 18, 3), (96, 192, 384, 576)


def expected_parameters():
    """Count by hand; mixers are 7x7 depthwise convolutions of twice the width, or attention."""
    total = 3 * 96 * 7 * 7 + 96 + 96  # The stem and its norm without bias.
    before = None
    for stage, (depth, w) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        if before is not None:
            total += before + 9 * before * w + w  # Norm without bias, and 3x3 convolution.
        mixer = 2 * w * w + 49 * 2 * w + 2 * w * w if stage < 2 else 3 * w * w + w * w
        total += depth * (mixer + 8 * w * w + 2 * w)
        before = w
    return total + 2 * 576  # The final norm has a bias.


def test_parameters_of_m36():
    init_default_scope("mmpretrain")
    with torch.device("meta"):
        backbone = MODELS.build(dict(type="bam_mm.CAFormer", model_name="caformer_m36"))
    count = sum(p.numel() for p in backbone.parameters())
    assert count == expected_parameters() == 52_548_480
    kinds = [type(m) for m in backbone.modules()]
    assert StarReLU not in kinds and Scale not in kinds
    assert kinds.count(nn.GELU) == 2 * 15 + 21  # In mixer and MLP, or in the MLP alone.
    assert kinds.count(Attention) == 21


def small(**kw):
    init_default_scope("mmpretrain")
    return CAFormer(small_caformer.SMALL["model_name"], **kw)


def test_the_supervised_variant_is_available():
    model = small(act_cfg=dict(type="ReLU"), residual_scales=True)
    kinds = [type(m) for m in model.modules()]
    assert kinds.count(Scale) == 6 and nn.GELU not in kinds and kinds.count(nn.ReLU) == 7


def test_output_is_a_map_and_the_teacher_is_a_copy():
    torch.manual_seed(0)
    model, neck = small(), nn.Flatten()
    x = torch.randn(2, 3, 64, 96)
    (output,) = model(x)
    assert output.shape == (2, small_caformer.WIDTH, 2, 3)
    teacher = MomentumTeacher(model, neck)
    torch.testing.assert_close(teacher.backbone(x)[0], output)
    with torch.no_grad():
        model.timm_model.stem.conv.weight.add_(1.0)
    assert not torch.allclose(model(x)[0], output)
    torch.testing.assert_close(teacher.backbone(x)[0], output)
