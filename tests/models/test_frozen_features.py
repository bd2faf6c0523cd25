"""Features of a frozen backbone, which does not change."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm import InputError
from bam_mm.models import FrozenFeatures
from bam_mm.models.adapters import adapter_of
from bam_mm.models.probe_features import frozen_feature
from tests.models.families import BY_NAME, TOLERANCE, build, images
from tests.pages import blocks

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


@pytest.mark.slow
@torch.no_grad()
def test_the_export_of_the_page_about_inference_pools_a_swin_of_timm():
    # The mean over the last two lengths of its NHWC maps has one number for each row.
    init_default_scope("mmpretrain")
    family = BY_NAME["timm-swin"]
    (text,) = [block for block in blocks("docs/inference.md", "python") if "torch.export" in block]
    before, _, after = text.partition("backbone, report = ")
    names = dict(backbone=build(family), report=SimpleNamespace(preprocessing=dict(size=64)))
    text = before + after.partition("\n")[2].partition("torch.export.save")[0]
    exec(text, names)  # noqa: S102
    x = images(family, 3)
    own = names["backbone"].timm_model.forward_features(x).mean((1, 2))
    torch.testing.assert_close(names["program"].module()(x), own, **TOLERANCE)


CONVNEXT = (  # Names of timm, mmpretrain and torchvision; {1} and {2} are 2i and 2i + 1.
    ("stem", "downsample_layers.0", "features.0"),
    ("stages.{0}.downsample", "downsample_layers.{0}", "features.{1}"),
    ("stages.{0}.blocks.0.conv_dw", "stages.{0}.0.depthwise_conv", "features.{2}.0.block.0"),
    ("stages.{0}.blocks.0.norm", "stages.{0}.0.norm", "features.{2}.0.block.2"),
    ("stages.{0}.blocks.0.mlp.fc1", "stages.{0}.0.pointwise_conv1", "features.{2}.0.block.3"),
    ("stages.{0}.blocks.0.mlp.fc2", "stages.{0}.0.pointwise_conv2", "features.{2}.0.block.5"),
    ("stages.{0}.blocks.0.gamma", "stages.{0}.0.gamma", "features.{2}.0.layer_scale"),
    ("head.norm", "norm3", "classifier.0"),
)


@torch.no_grad()
def test_one_convnext_has_one_feature_in_every_library():
    # mmpretrain and timm average before the last norm, torchvision has it in its classifier.
    init_default_scope("mmpretrain")
    timms = build(BY_NAME["timm-convnext"])
    state, x = timms.timm_model.state_dict(), images(BY_NAME["timm-convnext"])
    wanted = adapter_of(timms)
    mean = frozen_feature(timms, x, "mean", 1)
    # As before this rule: the mean of what TIMMBackbone returns.
    assert torch.equal(mean, timms(x)[-1].flatten(2).transpose(1, 2).mean(dim=1))
    for library, name in ((1, "mmpretrain-convnext"), (2, "torchvision-convnext")):
        other = build(BY_NAME[name])
        own = other.state_dict()
        for names in CONVNEXT:
            for stage in range(4):
                source, target = (
                    n.format(stage, 2 * stage, 2 * stage + 1) for n in (names[0], names[library])
                )
                for key in [k for k in state if f"{k}.".startswith(f"{source}.")]:
                    new = target + key[len(source) :]
                    own[new].copy_(state[key].reshape(own[new].shape))
        adapter = adapter_of(other)
        for feature in ("mean", "own"):
            found = frozen_feature(other, x, feature, 1)
            torch.testing.assert_close(
                found, frozen_feature(timms, x, feature, 1), **TOLERANCE, msg=f"{name} {feature}"
            )
        for norm in ("last", "none"):
            # mmpretrain's norms of the outputs always apply.
            stages = range(4 if norm == "last" or library == 2 else 3)
            both = adapter.maps(x, stages, norm=norm), wanted.maps(x, stages, norm=norm)
            for one, map_of_timm in zip(*both, strict=True):
                torch.testing.assert_close(one, map_of_timm, **TOLERANCE)
        assert torch.equal(adapter.maps(x)[0], adapter.final(x))
    assert torch.equal(wanted.maps(x)[0], wanted.final(x))
    assert not torch.allclose(frozen_feature(timms, x, "own", 1), mean, atol=1e-2)
