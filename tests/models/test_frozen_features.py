"""Features of a frozen backbone, which does not change."""

import pytest
import torch

from bam_mm import InputError
from bam_mm.models import FrozenFeatures

VIT = dict(
    type="mmpretrain.MoCoV3ViT",
    arch=dict(embed_dims=32, num_layers=5, num_heads=4, feedforward_channels=64),
    img_size=32,
    patch_size=8,
)
TIMM = dict(
    type="mmpretrain.TIMMBackbone",
    model_name="vit_tiny_patch16_224",
    img_size=32,
    depth=5,
    embed_dim=32,
    num_heads=4,
)
RESNET = dict(type="mmpretrain.ResNet_CIFAR", depth=18, stem_channels=8, base_channels=8)
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def model_of(backbone, seed=0, **kwargs):
    torch.manual_seed(seed)
    model = FrozenFeatures(backbone, **kwargs)
    for name, parameter in model.named_parameters():
        if "norm" in name or "ln" in name:  # Identities would hide where the norm is applied.
            parameter.data.uniform_(0.5, 1.5)
    return model


def reference_tokens(model):
    """Compute the tokens of each block of mmpretrain's transformer after the norm."""
    net = model.backbone
    x = net.patch_embed(IMAGES)[0]
    x = torch.cat([net.cls_token.expand(3, -1, -1), x], dim=1) + net.pos_embed
    blocks = []
    for layer in net.layers:
        x = layer(x)
        blocks.append(net.ln1(x))
    return blocks


@torch.no_grad()
def test_tokens_of_mmpretrains_transformer():
    blocks = reference_tokens(model_of(VIT))
    last = blocks[-1]
    for kwargs, wanted in [
        (dict(), last[:, 0]),
        (dict(feature="mean"), last[:, 1:].mean(1)),
        (dict(feature="cls+mean"), torch.cat([last[:, 0], last[:, 1:].mean(1)], 1)),
        (dict(blocks=4), torch.cat([b[:, 0] for b in blocks[-4:]], 1)),
    ]:
        found = model_of(VIT, **kwargs)(IMAGES)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_tokens_of_timms_transformer():
    net = model_of(TIMM).backbone.timm_model
    x = net._pos_embed(net.patch_embed(IMAGES))
    blocks = []
    for block in net.blocks:
        x = block(x)
        blocks.append(net.norm(x))
    torch.testing.assert_close(model_of(TIMM)(IMAGES), blocks[-1][:, 0])
    four = model_of(TIMM, blocks=4)(IMAGES)
    torch.testing.assert_close(four, torch.cat([b[:, 0] for b in blocks[-4:]], 1))
    mean = model_of(TIMM, feature="mean")(IMAGES)
    torch.testing.assert_close(mean, blocks[-1][:, 1:].mean(1))


@torch.no_grad()
def test_maps_are_averaged():
    model = model_of(RESNET, feature="mean")
    torch.testing.assert_close(model(IMAGES), model.backbone(IMAGES)[-1].mean((2, 3)))
    caformer = dict(type="mmpretrain.TIMMBackbone", model_name="caformer_s18")
    assert model_of(caformer, feature="mean")(IMAGES).shape == (3, 512)


def test_no_tensor_of_the_backbone_changes():
    model = model_of(RESNET, feature="mean")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert model.train() is model and not any(m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    model.train(True)(IMAGES * 5)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_checkpoints_and_random_weights(tmp_path):
    source = model_of(VIT, seed=1)
    state = {f"teacher.backbone.{k}": v for k, v in source.backbone.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "c.pth")
    model = model_of(VIT, seed=2)
    report = model.load_pretrained(tmp_path / "c.pth")
    assert report.loaded == len(state)
    assert torch.equal(model(IMAGES), source(IMAGES))
    del state["teacher.backbone.ln1.bias"]
    torch.save({"state_dict": state}, tmp_path / "d.pth")
    with pytest.raises(InputError, match=r"ln1\.bias"):
        model.load_pretrained(tmp_path / "d.pth")

    outputs = []
    for _ in range(2):
        model = model_of(VIT, seed=2)
        torch.manual_seed(5)
        assert model.load_pretrained("random") is None
        outputs.append(model(IMAGES))
    assert torch.equal(*outputs) and not torch.equal(outputs[0], source(IMAGES))
    assert not any(p.requires_grad for p in model.parameters())


def test_normalisation_uses_imagenets_values_in_rgb():
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    preprocess = model_of(RESNET, feature="mean").data_preprocessor
    found = preprocess({"inputs": images, "data_samples": []}, False)["inputs"]
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    wanted = (images.flip(1).float() - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (dict(feature="pooled"), "model.feature='pooled'"),
        (dict(blocks=0), "model.blocks=0"),
        (dict(branch="ema"), "model.branch='ema'"),
    ],
)
def test_wrong_options(kwargs, words):
    with pytest.raises(InputError, match=words):
        FrozenFeatures(VIT, **kwargs)


def test_features_and_modes_that_a_backbone_lacks():
    with pytest.raises(InputError, match=r"no \[CLS\] token; set model.feature=mean"):
        model_of(RESNET, feature="cls")(IMAGES)
    with pytest.raises(InputError, match="it only returns features"):
        model_of(VIT)(IMAGES, mode="loss")
