"""Files of ``bam-mm convert`` in tools that know nothing of this package."""

import pytest
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmpretrain import get_model

from bam_mm import InputError
from bam_mm.checkpoint import convert_checkpoint

pytestmark = pytest.mark.slow

ARCH = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=96)
VIT = dict(type="mmpretrain.VisionTransformer", arch=ARCH, img_size=32, patch_size=8)
RESNET = dict(type="mmpretrain.ResNet", depth=18, stem_channels=8, base_channels=8)
HIERA = dict(type="mmpretrain.TIMMBackbone", model_name="hiera_tiny_224", embed_dim=8)
SWIN = dict(
    type="mmpretrain.SwinTransformer",
    arch=dict(embed_dims=8, depths=[1, 1], num_heads=[1, 1]),
    img_size=32,
    window_size=2,
    out_indices=(1,),
)


def pretraining(path, config):
    """Write a checkpoint of a run of BAM, and return the backbone of its teacher."""
    backbones = []
    for seed in range(2):
        backbones.append(MODELS.build(config))
        generator = torch.Generator().manual_seed(seed)
        for tensor in backbones[-1].state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    state = {
        prefix + key: value
        for prefix, model in zip(("backbone.", "teacher.backbone."), backbones, strict=True)
        for key, value in model.state_dict().items()
    }
    state |= {"neck.fc.weight": torch.ones(2, 2), "teacher.neck.fc.weight": torch.ones(2, 2)}
    torch.save({"state_dict": state, "meta": {"cfg": f"model = dict(backbone={config!r})"}}, path)
    return backbones[1]


def equal(one, other):
    own = other.state_dict()
    return all(torch.equal(value, own[key]) for key, value in one.state_dict().items())


@pytest.mark.parametrize("config", [VIT, RESNET, HIERA, SWIN], ids=lambda c: c["type"])
def test_mmpretrain(tmp_path, config):
    teacher = pretraining(tmp_path / "bam.pth", config)
    convert_checkpoint(tmp_path / "bam.pth", tmp_path / "out.pth", to="mmpretrain")
    model = dict(type="mmpretrain.ImageClassifier", backbone=config)
    loaded = get_model(Config(dict(model=model)), pretrained=str(tmp_path / "out.pth"))
    assert equal(loaded.backbone, teacher)


def test_mmdet(tmp_path):
    pretraining(tmp_path / "bam.pth", RESNET)
    convert_checkpoint(tmp_path / "bam.pth", tmp_path / "out.pth", to="mmpretrain")
    init = dict(type="Pretrained", checkpoint=str(tmp_path / "out.pth"), prefix="backbone.")
    backbone = MODELS.build(dict(RESNET, type="mmdet.ResNet", init_cfg=init))
    backbone.init_weights()
    assert equal(backbone, pretraining(tmp_path / "again.pth", RESNET))


def test_timm(tmp_path):
    teacher = pretraining(tmp_path / "bam.pth", VIT)
    for file in ("out.pth", "out.safetensors"):
        convert_checkpoint(tmp_path / "bam.pth", tmp_path / file, to="timm")
        model = timm.create_model(
            "vit_tiny_patch16_224",
            num_classes=0,
            checkpoint_path=str(tmp_path / file),
            **dict(img_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=3),
        )
        assert torch.equal(model.norm.weight, teacher.ln1.weight)
        assert torch.equal(model.blocks[1].attn.qkv.weight, teacher.layers[1].attn.qkv.weight)
        assert len(model.state_dict()) == len(teacher.state_dict())


def test_timm_in_the_pretraining(tmp_path):
    teacher = pretraining(tmp_path / "bam.pth", HIERA)
    report = convert_checkpoint(tmp_path / "bam.pth", tmp_path / "out.pth", to="timm")
    model = timm.create_model("hiera_tiny_224", embed_dim=8, num_classes=0)
    # The pooling before a classifier has no tensors.
    model.load_state_dict(torch.load(tmp_path / "out.pth", weights_only=True))
    assert equal(model, teacher.timm_model) and report.tensors == len(model.state_dict())


def test_names_without_a_table_need_the_network(tmp_path):
    pretraining(tmp_path / "bam.pth", SWIN)
    with pytest.raises(InputError, match="no table of timm's names; use --to mmpretrain"):
        convert_checkpoint(tmp_path / "bam.pth", tmp_path / "out.pth", to="timm")
    teacher = MODELS.build(HIERA).timm_model
    torch.save(teacher.state_dict(), tmp_path / "timm.pth")
    with pytest.raises(InputError, match=r"no rule covers .* \(--model timm:NAME or a config\)"):
        convert_checkpoint(tmp_path / "timm.pth", tmp_path / "out.pth", to="mmpretrain")
    assert not (tmp_path / "out.pth").exists()
    model = MODELS.build(HIERA)
    report = convert_checkpoint(
        tmp_path / "timm.pth", tmp_path / "out.pth", to="mmpretrain", model=model
    )
    assert equal(model.timm_model, teacher) and report.names == "the backbone's own names"
