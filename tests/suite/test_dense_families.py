"""Every family of backbones in detection and segmentation: it works, or stops with a reason."""

import copy

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData

from bam_mm import InputError
from bam_mm.checkpoint.sources import BackboneSource
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import find_config
from bam_mm.registry import MODELS
from bam_mm.suite.fitting import fit
from bam_mm.suite.models import Model

pytestmark = pytest.mark.slow

CONFIGS = {
    "det": "det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy",
    "seg": "seg/vit-toy-p8_upernet_1xb4-400i_toy",
    "linear": "seg/vit-toy-p8_linear-head_1xb8-400i_toy",
}
TIMM = dict(type="mmpretrain.TIMMBackbone")
TORCHVISION = dict(type="bam_mm.TorchvisionBackbone")
COLUMN = dict(embed_dim=24, depth=4, num_heads=3)
ARCH = dict(embed_dims=24, num_layers=4, num_heads=3, feedforward_channels=48)
FAMILIES = {
    "timm ViT": dict(TIMM, model_name="vit_tiny_patch16_224", img_size=64, **COLUMN),
    "timm DINOv2": dict(TIMM, model_name="vit_small_patch14_reg4_dinov2", img_size=70, **COLUMN),
    "timm DINOv3": dict(TIMM, model_name="vit_small_patch16_dinov3", img_size=64, **COLUMN),
    "timm XCiT": dict(TIMM, model_name="xcit_nano_12_p16_224", **COLUMN),
    "timm Swin": dict(
        TIMM,
        model_name="swin_tiny_patch4_window7_224",
        embed_dim=8,
        depths=(1, 1, 2, 1),
        num_heads=(1, 1, 2, 2),
    ),
    "timm ConvNeXt": dict(
        TIMM, model_name="convnext_atto", depths=(1, 1, 2, 1), dims=(8, 12, 16, 20)
    ),
    "timm EfficientNet": dict(TIMM, model_name="efficientnet_lite0"),
    "timm ResNet": dict(TIMM, model_name="resnet18", channels=(8, 12, 16, 20)),
    "mmpretrain ViT": dict(
        type="mmpretrain.VisionTransformer", arch=ARCH, img_size=64, patch_size=16
    ),
    "mmpretrain DINOv2": dict(
        type="mmpretrain.VisionTransformer", arch=ARCH, img_size=70, patch_size=14
    ),
    "mmpretrain Swin": dict(
        type="mmpretrain.SwinTransformer",
        arch=dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2]),
        img_size=64,
    ),
    "mmpretrain ConvNeXt": dict(
        type="mmpretrain.ConvNeXt", arch=dict(depths=[1, 1, 2, 1], channels=[8, 12, 16, 20])
    ),
    "mmpretrain EfficientNet": dict(type="mmpretrain.EfficientNet", arch="b0"),
    "mmpretrain MViT": dict(
        type="mmpretrain.MViT",
        arch=dict(embed_dims=8, num_layers=5, num_heads=1, downscale_indices=[1, 2, 4]),
        img_size=64,
    ),
    "mmpretrain ResNet": dict(
        type="mmpretrain.ResNet", depth=18, base_channels=8, stem_channels=8
    ),
    "torchvision ResNet": dict(TORCHVISION, model_name="resnet18"),
    "torchvision EfficientNet": dict(TORCHVISION, model_name="efficientnet_b0"),
    "torchvision Swin": dict(TORCHVISION, model_name="swin_t"),
}
STOPS = {
    "timm CaiT": (
        dict(TIMM, model_name="cait_xxs24_224", img_size=64, **COLUMN),
        r"cait_xxs24_224 takes images of 64x64 px only, not of \d+x\d+ px",
    ),
    "mmpretrain BEiT": (
        dict(type="mmpretrain.BEiTViT", arch=ARCH, img_size=64, patch_size=16),
        r"BEiTViT takes images of 64x64 px only",
    ),
    "timm LeViT": (dict(TIMM, model_name="levit_128s"), "takes images of 224x224 px only"),
    "timm Inception": (
        dict(TIMM, model_name="inception_v3"),
        "no whole number of pixels per cell, so boxes and masks do not fit it",
    ),
    "three blocks": (
        dict(TIMM, model_name="vit_tiny_patch16_224", embed_dim=24, depth=3, num_heads=3),
        "it has 3 blocks, too few for 4 maps",
    ),
}


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
@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_step_and_a_prediction(family, task):
    config, lines, model = fitted(task, FAMILIES[family])
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
    assert any(not torch.equal(a, b) for a, b in zip(before, model.backbone.parameters()))
    model.eval()
    [first, _] = model.test_step(scene(task))
    if task == "det":
        assert first.pred_instances.bboxes.shape[1] == 4
    else:
        assert first.pred_sem_seg.data.shape == (1, 64, 80)


@pytest.mark.parametrize("task", ["det", "seg"])
@pytest.mark.parametrize("family", STOPS)
def test_what_cannot_work_stops_with_a_reason(family, task):
    backbone, message = STOPS[family]
    with pytest.raises(InputError, match=message):
        fitted(task, backbone)
