"""Every family of backbones in detection and segmentation: it works, or stops with a reason."""

import copy

import numpy as np
import pytest
import timm
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from torchvision.models import VisionTransformer

from bam_mm import InputError
from bam_mm.checkpoint.sources import BackboneSource
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import find_config
from bam_mm.registry import MODELS
from bam_mm.suite.definitions import load_suite
from bam_mm.suite.fitting import fit
from bam_mm.suite.models import Model
from bam_mm.suite.planning import Settings, plan
from tests.models.families import ARCH, FAMILIES, TIMM, small_torchvision

pytestmark = pytest.mark.slow

CONFIGS = {
    "det": "det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy",
    "seg": "seg/vit-toy-p8_upernet_1xb4-400i_toy",
    "linear": "seg/vit-toy-p8_linear-head_1xb8-400i_toy",
}
FOUR_BLOCKS = {
    "torchvision-vit": dict(
        model_name=small_torchvision(
            "bam_mm_test_vit_of_four_blocks",
            lambda **kwargs: VisionTransformer(
                64, 16, num_layers=4, num_heads=3, hidden_dim=24, mlp_dim=48, **kwargs
            ),
        )
    )
}
"""Settings for families that have three blocks, as four maps need four."""

STOPS = {
    "timm-cait": "takes images of 64x64 px only, not of",
    "timm-beit": "takes images of 64x64 px only, not of",
    "mmpretrain-beit": "takes images of 64x64 px only, not of",
    "own-tokens": "OwnTokens returns .*, but a map",
    "own-vector": "OwnVector returns .*, but a map",
}
"""Reasons for which a family does neither task."""

OTHERS = {
    "sizes": (dict(type=TIMM, model_name="levit_128s"), "takes images of 224x224 px only"),
    "cells": (
        dict(type=TIMM, model_name="sequencer2d_s", layers=(1, 1, 1, 1)),
        "no whole number of pixels per cell, so boxes and masks do not fit it",
    ),
    "blocks": (
        dict(type=TIMM, model_name="vit_tiny_patch16_224", embed_dim=24, depth=3, num_heads=3),
        "it has 3 blocks, too few for 4 maps",
    ),
}


def backbone_of(family):
    config = copy.deepcopy(family.config)
    if config.get("depth") == 3:
        config["depth"] = 4
    return {**config, **FOUR_BLOCKS.get(family.name, {})}


def fitted(task, backbone):
    config = load_config(find_config(CONFIGS[task]))
    source = BackboneSource("spec", "random", copy.deepcopy(backbone), None)
    lines = fit(config, Model("model", "model", source, ""))
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    return config, lines, MODELS.build(config.model)


def scene(task):
    """Return two images of 64x80 px with one square of class 1 each."""
    # After bam_mm, which provides the operators of mmcv.
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmseg.structures import SegDataSample

    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.integers(0, 255, (3, 64, 80), dtype=np.uint8))] * 2
    square = np.zeros((1, 64, 80), dtype=np.uint8)
    square[:, 16:48, 24:56] = 1
    samples = []
    for _ in images:
        sizes = dict(img_shape=(64, 80), ori_shape=(64, 80), scale_factor=(1.0, 1.0))
        if task == "det":
            sample = DetDataSample(metainfo=sizes)
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[24.0, 16, 56, 48]]),
                labels=torch.tensor([1]),
                masks=BitmapMasks(square, 64, 80),
            )
        else:
            sample = SegDataSample(metainfo=sizes)
            sample.gt_sem_seg = PixelData(data=torch.from_numpy(square.astype(np.int64)))
        samples.append(sample)
    return dict(inputs=images, data_samples=samples)


@pytest.mark.parametrize("task", ["det", "seg"])
@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_training_step_and_a_prediction(family, task):
    if family.name in STOPS:
        with pytest.raises(InputError, match=f"model cannot do this task: .*{STOPS[family.name]}"):
            fitted(task, backbone_of(family))
        return
    config, lines, model = fitted(task, backbone_of(family))
    assert any(line.startswith("backbone: ") and "channels" in line for line in lines)
    wrapper = build_optim_wrapper(model, config.optim_wrapper)
    model.train()
    data = model.data_preprocessor(scene(task), True)
    loss, _ = model.parse_losses(model(**data, mode="loss"))
    wrapper.backward(loss)
    # DistributedDataParallel would wait for a trained parameter without a gradient.
    for name, parameter in model.backbone.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    before = [p.detach().clone() for p in model.backbone.parameters()]
    wrapper.step()
    assert torch.isfinite(loss)
    after = model.backbone.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    model.eval()
    [first, _] = model.test_step(scene(task))
    if task == "det":
        assert first.pred_instances.bboxes.shape[1] == 4
    else:
        assert first.pred_sem_seg.data.shape == (1, 64, 80)


@pytest.mark.parametrize("backbone, message", OTHERS.values(), ids=OTHERS)
def test_what_cannot_work_stops_with_a_reason(backbone, message):
    with pytest.raises(InputError, match=message):
        fitted("seg", backbone)


def test_group_norm_is_no_batch_norm_and_takes_its_map_with_the_channels_first():
    small = dict(layers=(1, 1, 1, 1), channels=(128,) * 4, stem_chs=64)
    config, _, model = fitted("seg", dict(type=TIMM, model_name="resnetv2_50d_gn", **small))
    assert config.model.backbone.norm == "added"
    assert [x.shape[2:] for x in model.backbone(torch.zeros(1, 3, 64, 80))][-1] == (2, 3)


def test_a_backbone_whose_final_config_does_not_build_stops_in_the_plan():
    """Only with ``norm="added"``, which is chosen at the end, the map passes the norm."""

    def bam_mm_test_misfit(pretrained=False, **kwargs):
        network = timm.create_model("convnext_atto", depths=(1,) * 4, dims=(8, 8, 8, 8), **kwargs)
        network.head.norm = torch.nn.LayerNorm(7)
        return network

    timm.models.register_model(bam_mm_test_misfit)
    with pytest.raises(InputError, match=r"model cannot do this task: .*RuntimeError: .*shape"):
        fitted("seg", dict(type=TIMM, model_name="bam_mm_test_misfit"))


@pytest.mark.parametrize(
    "name, variant, stages, first",
    [
        ("timm-swin", "layernorm", [0, 1, 2, 3], "bam_mm.DenseTIMM"),
        ("mmpretrain-convnext", "layernorm", [0, 1, 2, 3], "bam_mm.DenseBackbone"),
        ("timm-resnet", "cnn", [1, 2, 3, 4], "bam_mm.DenseTIMM"),
        ("timm-dinov3", "vit", [3, 5, 7, 11], "bam_mm.DenseTIMM"),
    ],
)
def test_the_protocol_of_a_family_in_the_suite_of_the_paper(name, variant, stages, first, tmp_path):
    [family] = [family for family in FAMILIES if family.name == name]
    backbone = {**family.config, **(dict(depth=12) if variant == "vit" else {})}
    model = Model("m", "m", BackboneSource("spec", "random", backbone, None), "")
    suite = load_suite("paper")
    tasks = [task for task in suite.tasks if task.name in ("det", "seg")]
    runs = plan(suite, tasks, [model], [0], Settings(tmp_path))
    assert [(run.variant, run.family) for run in runs] == [(variant, variant)] * 2
    for run in runs:
        config = load_config(run.task.config[variant])
        fit(config, model)
        dense = config.model.backbone
        assert (dense.type, list(dense.stages)) == (first, stages)
        assert dense.get("sync_bn", False) == (variant == "cnn")
        column = "all" if run.task.name == "seg" else None
        norms = {"layernorm": "added", "cnn": None, "vit": column}
        assert dense.get("norm") == norms[variant]


def test_a_deeper_vit_has_the_same_relative_depths():
    """ViT-L's maps are those of BEiT-L in mmseg, and not of the first half of the network."""
    deep = dict(type="mmpretrain.VisionTransformer", arch={**ARCH, "num_layers": 24}, patch_size=16)
    config = load_config(find_config("det/vit-base-p16_cascade-mask-rcnn_8xb2-amp-12e_coco"))
    lines = fit(config, Model("m", "m", BackboneSource("spec", "random", deep, None), ""))
    assert list(config.model.backbone.blocks) == [7, 11, 15, 23]
    assert any("[3, 5, 7, 11] of 12 -> [7, 11, 15, 23] of 24" in line for line in lines)


def test_strides_of_14_px_patches_reach_anchors_and_roi_poolings():
    [family] = [family for family in FAMILIES if family.name == "timm-dinov2-registers"]
    config, lines, _ = fitted("det", backbone_of(family))
    model = config.model
    assert model.rpn_head.anchor_generator.strides == [3.5, 7, 14, 28]
    for extractor in (model.roi_head.bbox_roi_extractor, model.roi_head.mask_roi_extractor):
        assert extractor.featmap_strides == [3.5, 7, 14, 28]
    assert model.neck[0].rescales == [4, 2, 1, 0.5] and model.neck[0].embed_dim == 24
    assert "images are padded at the right and bottom to multiples of 14 px" in " ".join(lines)
    config, lines, _ = fitted("seg", backbone_of(family))
    assert config.model.backbone.fit_input == "resize"
    assert "images are enlarged bicubically to multiples of 14 px" in " ".join(lines)
