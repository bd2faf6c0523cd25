"""Conversion from BAM to timm to mmpretrain, and from timm to mmpretrain, keeps the features."""

import pytest
import timm
import torch
from mmpretrain.registry import MODELS

from bam_mm.checkpoint import convert_checkpoint, load_backbone
from bam_mm.checkpoint.sources import ARCHITECTURES
from tests.checkpoint.layouts import prefixed, shaken

pytestmark = pytest.mark.slow

# The models have their real names and sizes. Small images are enough to test the weights.
SIZE = 64

PAIRS = {
    "vit-small-p16": dict(model_name="vit_small_patch16_224", num_heads=12, img_size=SIZE),
    "vit-base-p16": dict(model_name="vit_base_patch16_224", img_size=SIZE),
    "resnet50": dict(model_name="resnet50"),
    "caformer-m36": dict(model_name="caformer_m36"),
}


def build(name):
    config = dict(ARCHITECTURES[name])
    if "img_size" in config:
        config["img_size"] = SIZE
    model = MODELS.build(config)
    model.eval()
    return model


def build_timm(name):
    return timm.create_model(**PAIRS[name], num_classes=0).eval()


@torch.no_grad()
def features(model):
    images = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
    if hasattr(model, "forward_features"):
        maps = model.forward_features(images)
        return maps[:, 0] if maps.ndim == 3 else maps
    return model(images)[-1]


@pytest.mark.parametrize("name", PAIRS)
def test_bam_to_timm_to_mmpretrain_keeps_the_features(tmp_path, name):
    bam, timms, back = build(name), build_timm(name), build(name)
    shaken(bam, 3)
    wanted = features(bam)
    state = {
        **prefixed("teacher.backbone.", bam.state_dict()),
        "teacher.neck.fc.weight": torch.ones(2),
        "backbone.cls_token": torch.ones(2),
    }
    torch.save({"state_dict": state}, tmp_path / "bam.pth")

    converted = convert_checkpoint(tmp_path / "bam.pth", tmp_path / "timm.safetensors", to="timm")
    report = load_backbone(timms, tmp_path / "timm.safetensors")
    assert converted.tensors == report.loaded == len(bam.state_dict()) == len(timms.state_dict())
    assert converted.aside == ["backbone.cls_token", "teacher.neck.fc.weight"]
    through_timm = features(timms)
    scale = through_timm.abs().max().item()
    assert scale > 0.1
    if name == "caformer-m36":  # TIMMBackbone of mmpretrain applies the norm of the head.
        through_timm = timms.head.norm(through_timm)
    torch.testing.assert_close(through_timm, wanted, rtol=1e-5, atol=1e-5 * max(scale, 1))

    convert_checkpoint(tmp_path / "timm.safetensors", tmp_path / "mm.pth", to="mmpretrain")
    load_backbone(back, tmp_path / "mm.pth")
    torch.testing.assert_close(features(back), wanted, rtol=0, atol=1e-6)
    own = bam.state_dict()
    assert all(torch.equal(own[key], value) for key, value in back.state_dict().items())


@pytest.mark.parametrize(
    ("name", "arch", "size"),
    [("vit_tiny_patch16_224", "deit-tiny", 64), ("vit_small_patch16_224", "deit-small", 224)],
)
def test_converted_timm_vit_has_the_features_of_timm(tmp_path, name, arch, size):
    torch.manual_seed(0)
    model = shaken(timm.create_model(name, img_size=size, num_classes=10), 4)
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    report = convert_checkpoint(tmp_path / "timm.pth", tmp_path / "mm.pth", to="mmpretrain")
    assert report.aside == ["head.bias", "head.weight"] and report.layout.endswith("timm's names")
    mine = MODELS.build(
        dict(type="VisionTransformer", arch=arch, img_size=size, patch_size=16, out_type="raw")
    )
    mine.eval()
    load_backbone(mine, tmp_path / "mm.pth")
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        wanted, tokens = model.forward_features(images), mine(images)[-1]
    assert wanted.std() > 0.5
    torch.testing.assert_close(tokens, wanted, rtol=0, atol=1e-5)
