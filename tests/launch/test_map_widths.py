"""Necks, heads and anchors that do not fit the maps of a backbone stop with the right value."""

import pytest
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm import InputError
from bam_mm.launch.map_widths import check_widths
from bam_mm.registry import MODELS

WIDTHS = [8, 12, 16, 20]
STRIDES = [4, 8, 16, 32]
ANCHORS = dict(anchor_generator=dict(strides=[4, 8, 16, 32, 64]))
RESNET = dict(type="bam_mm.DenseTIMM", model_name="resnet18", channels=(8, 12, 16, 20))
VIT = dict(
    type="bam_mm.DenseTIMM", model_name="vit_tiny_patch16_224", embed_dim=24, depth=4, num_heads=3
)


def check(backbone, **parts):
    init_default_scope("mmdet")
    model = nn.Module()
    model.backbone = MODELS.build(backbone)
    check_widths(dict(model=dict(backbone=backbone, **parts)), model)


@pytest.mark.parametrize(
    "backbone, parts",
    [
        (RESNET, dict(neck=dict(type="FPN", in_channels=WIDTHS), rpn_head=ANCHORS)),
        (
            RESNET,
            dict(
                decode_head=dict(in_channels=WIDTHS, in_index=[0, 1, 2, 3]),
                auxiliary_head=dict(in_channels=16, in_index=2),
            ),
        ),
        (VIT, dict(neck=[dict(type="Feature2Pyramid", embed_dim=24), dict(in_channels=[24] * 4)])),
        (dict(type="mmdet.ResNet", depth=18), dict(neck=dict(type="FPN", in_channels=[1, 2]))),
        # Necks that take the maps in another order, or several widths of one map.
        (RESNET, dict(neck=dict(type="YOLOV3Neck", in_channels=[20, 16, 12]))),
        (VIT, dict(neck=dict(type="SimpleFPN", backbone_channel=24, in_channels=[6, 12, 24, 24]))),
        (
            RESNET,
            dict(
                neck=dict(type="DilatedEncoder", in_channels=20, embed_dim=7),
                decode_head=dict(in_channels=512),
            ),
        ),
    ],
)
def test_what_fits_passes(backbone, parts):
    check(backbone, **parts)


@pytest.mark.parametrize(
    "backbone, parts, message",
    [
        (
            RESNET,
            dict(neck=dict(type="FPN", in_channels=[256, 512, 1024, 2048])),
            r"^model\.neck\.in_channels=\[256, 512, 1024, 2048\]: DenseTIMM \(resnet18\) returns "
            r"maps with \[8, 12, 16, 20\] channels and strides of \[4, 8, 16, 32\] px; set "
            r"model\.neck\.in_channels=\[8, 12, 16, 20\]$",
        ),
        (
            VIT,
            dict(neck=[dict(type="Feature2Pyramid", embed_dim=768), dict(in_channels=[768] * 4)]),
            r"^model\.neck\.0\.embed_dim=768: .* set model\.neck\.0\.embed_dim=24$",
        ),
        (
            RESNET,
            dict(
                neck=[
                    dict(type="bam_mm.ToFloat32"),
                    dict(type="mmdet.PAFPN", in_channels=[20, 16, 12, 8]),
                ]
            ),
            r"^model\.neck\.1\.in_channels=\[20, 16, 12, 8\]: .* set .*=\[8, 12, 16, 20\]",
        ),
        (
            {**VIT, "stages": [0, 1]},
            dict(neck=dict(type="Feature2Pyramid", embed_dim=24, rescales=[2, 1, 0.5, 0.25])),
            r"^model\.neck\.rescales=\[2, 1, 0\.5, 0\.25\] makes 4 maps, but DenseTIMM returns 2: ",
        ),
        (
            RESNET,
            dict(neck=dict(type="Feature2Pyramid", embed_dim=8)),
            r"remove model\.neck, the maps are a pyramid already",
        ),
        (
            RESNET,
            dict(decode_head=dict(in_channels=[8, 12, 16, 2048], in_index=[0, 1, 2, 3])),
            r"set model\.decode_head\.in_channels=\[8, 12, 16, 20\]",
        ),
        (
            RESNET,
            dict(auxiliary_head=dict(in_channels=1024, in_index=2)),
            r"model\.auxiliary_head\.in_channels=1024: .* set .*in_channels=16",
        ),
        (
            RESNET,
            dict(auxiliary_head=dict(in_channels=20, in_index=4)),
            r"^model\.auxiliary_head\.in_index=4: .* set model\.auxiliary_head\.in_index=3$",
        ),
        (
            RESNET,
            dict(decode_head=dict(in_channels=WIDTHS, in_index=[1, 2, 3, 4])),
            r"^model\.decode_head\.in_index=\[1, 2, 3, 4\]: .* with \[8, 12, 16, 20\] channels",
        ),
        (  # timm's stem is its stage 0: without the check, anchors would be twice too large.
            {**RESNET, "stages": [0, 1, 2, 3]},
            dict(neck=dict(type="FPN", in_channels=[64, 8, 12, 16]), rpn_head=ANCHORS),
            r"^model\.rpn_head\.anchor_generator\.strides=\[4, 8, 16, 32, 64\]: .* strides of "
            r"\[2, 4, 8, 16\] px; choose other model\.backbone\.stages, or set "
            r".*strides=\[2, 4, 8, 16, 32\]",
        ),
    ],
)
def test_what_does_not_fit_names_the_entry_and_its_value(backbone, parts, message):
    with pytest.raises(InputError, match=message):
        check(backbone, **parts)
