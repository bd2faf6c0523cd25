"""Every family through one contract: shapes as stated, and numbers equal to the library's own."""

import copy

import pytest
import timm
import torch
import torchvision
from mmengine.registry import init_default_scope
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from bam_mm import InputError
from bam_mm.models import FrozenFeatures
from bam_mm.models.adapters import adapter_of
from bam_mm.models.adapters.contract import Stage, pyramid
from bam_mm.models.adapters.measuring import evaluating
from bam_mm.models.patch_features import build_map_backbone, feature_map
from bam_mm.registry import MODELS
from tests.models.families import ARCH, BY_NAME, FAMILIES, TOLERANCE, build, images

OF_TIMM, OF_MMPRETRAIN, OF_TORCHVISION = (
    [f for f in FAMILIES if f.name.startswith(library)]
    for library in ("timm", "mmpretrain", "torchvision")
)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmpretrain")
    with torch.no_grad():
        yield


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_what_is_stated_is_what_comes_out(family):
    backbone = build(family)
    adapter = adapter_of(backbone)
    assert (adapter.prefix_tokens, adapter.cls_index) == (family.prefix, family.cls)
    x = images(family)
    if family.strides:
        assert (adapter.strides, adapter.widths) == (family.strides, family.widths)
        maps = adapter.maps(x, range(len(family.strides)))
        wanted = [
            (2, width, family.side // stride, family.side // stride)
            for width, stride in zip(family.widths, family.strides, strict=True)
        ]
        assert [tuple(x.shape) for x in maps] == wanted
        assert torch.equal(adapter.maps(x)[0], maps[-1])
    if family.prefix:
        (tokens,) = adapter.tokens(x)
        cells = (family.side // (family.strides or (16,))[0]) ** 2
        assert tokens.shape[:2] == (2, family.prefix + cells)
    assert adapter.final(x).ndim in (2, 3, 4)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_an_adapter_changes_nothing(family):
    backbone = build(family)
    for number, module in enumerate(backbone.modules()):
        module.training = bool(number % 2)
    modes = [module.training for module in backbone.modules()]
    names, settings = list(backbone.state_dict()), getattr(backbone, "out_indices", None)
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    x = images(family)
    adapter = adapter_of(backbone)
    assert adapter_of(backbone) is adapter
    if family.strides:
        assert adapter.stages
    assert [module.training for module in backbone.modules()] == modes
    for module in backbone.modules():
        module.training = False
    before = backbone(x)
    if family.strides:
        adapter.maps(x, [0])
    after = backbone(x)
    pairs = zip(before, after, strict=True) if isinstance(before, tuple) else [(before, after)]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert (
        list(backbone.state_dict()) == names and getattr(backbone, "out_indices", None) is settings
    )
    assert all(torch.equal(value, state[key]) for key, value in backbone.state_dict().items())
    twin = copy.deepcopy(backbone)
    assert adapter_of(twin).backbone is twin
    for parameter in twin.parameters():
        parameter.zero_()
    assert torch.equal(adapter_of(backbone).final(x), adapter.final(x))
    assert not torch.equal(adapter_of(twin).final(x), adapter.final(x))


@pytest.mark.parametrize("family", OF_TIMM, ids=str)
def test_timm_features_equal_its_own(family):
    backbone = build(family)
    adapter, x = adapter_of(backbone), images(family)
    config = {k: v for k, v in family.config.items() if k not in ("type", "model_name")}
    if family.config["type"].endswith("TIMMBackbone"):
        # As timm builds it, with its own pooling and classifier.
        model = timm.create_model(family.config["model_name"], **config).eval()
        kept = model.load_state_dict(backbone.timm_model.state_dict(), strict=False)
        assert not kept.unexpected_keys
    else:
        model = backbone.timm_model
    maps = model.forward_intermediates(x, norm=False, intermediates_only=True, output_fmt="NCHW")
    maps = maps[len(maps) - len(family.strides) :]
    for found, wanted in zip(adapter.maps(x, range(len(maps)), norm="none"), maps, strict=True):
        torch.testing.assert_close(found, wanted, **TOLERANCE)
    (normed,) = model.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)
    features = model.forward_features(x)
    tokens = features
    if (
        getattr(getattr(model, "head", None), "norm", None) is not None
    ):  # Behind the pooling, as in ConvNeXt.
        normed = model.head.norm(normed)
    elif isinstance(getattr(model, "fc_norm", None), nn.LayerNorm):
        normed = model.fc_norm(normed.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        tokens = model.fc_norm(tokens)
    torch.testing.assert_close(adapter.maps(x)[0], normed, **TOLERANCE)
    if family.prefix:
        torch.testing.assert_close(adapter.tokens(x)[0], tokens, **TOLERANCE)
    if "own" in family.stops:
        with pytest.raises(InputError, match=family.stops["own"]):
            adapter.vector(x)
    elif model is not backbone.timm_model:
        wanted = model.forward_head(features, pre_logits=True)
        torch.testing.assert_close(adapter.vector(x), wanted, **TOLERANCE)


@pytest.mark.parametrize("family", OF_MMPRETRAIN, ids=str)
def test_mmpretrain_features_equal_its_own(family):
    backbone = build(family)
    adapter, x = adapter_of(backbone), images(family)
    selects = "out_scales" if hasattr(backbone, "out_scales") else "out_indices"
    if family.prefix:
        raw = MODELS.build({**family.config, "out_type": "raw", "out_indices": list(range(4))})
        maps = MODELS.build({**family.config, "out_type": "featmap", "out_indices": [1, 3]})
        for other in (raw, maps):
            kept = other.load_state_dict(backbone.state_dict(), strict=False)
            # BEiT's norm of the mean patch is none of the tokens.
            assert {*kept.unexpected_keys} <= {"ln2.weight", "ln2.bias"} and not kept.missing_keys
            other.eval()
        outputs = raw(x)
        torch.testing.assert_close(adapter.tokens(x)[0], outputs[-1], **TOLERANCE)
        two = adapter.tokens(x, 2)
        normed = backbone.ln1(outputs[2]) if backbone.final_norm else outputs[2]
        torch.testing.assert_close(two[0], normed, **TOLERANCE)
        for found, wanted in zip(adapter.maps(x, [1, 3]), maps(x), strict=True):
            torch.testing.assert_close(found, wanted, **TOLERANCE)
        torch.testing.assert_close(adapter.vector(x), backbone(x)[-1], **TOLERANCE)
        return
    everything = MODELS.build({**family.config, selects: [s.place for s in adapter.stages]})
    kept = everything.load_state_dict(backbone.state_dict(), strict=False)
    assert not kept.unexpected_keys
    for name in {key.split(".")[0] for key in kept.missing_keys}:
        setattr(everything, name, nn.Identity())  # The output norms that the backbone lacks.
    everything.eval()
    wanted = everything(x)
    if wanted[-1].ndim == 2:  # ConvNeXt averages, then normalises.
        torch.testing.assert_close(adapter.vector(x), wanted[-1], **TOLERANCE)
        everything.gap_before_final_norm = False
        wanted = everything(x)
    else:
        torch.testing.assert_close(adapter.vector(x), backbone(x)[-1].mean((2, 3)), **TOLERANCE)
    found = adapter.maps(x, range(len(adapter.stages)))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE)


NODES = {
    "torchvision-resnet": ["layer1", "layer2", "layer3", "layer4"],
    "torchvision-convnext": ["features.1", "features.3", "features.5", "features.7"],
    "torchvision-swin": ["features.1", "features.3", "features.5", "permute"],
    "torchvision-mobilenet": ["features.1", "features.3", "features.8", "features.12"],
}


@pytest.mark.parametrize("family", OF_TORCHVISION, ids=str)
def test_torchvision_features_equal_its_own(family):
    backbone = build(family)
    adapter, x = adapter_of(backbone), images(family)
    full = torchvision.models.get_model(family.config["model_name"]).eval()
    kept = full.load_state_dict(backbone.state_dict(), strict=False)
    classifier = [m for m in full.modules() if isinstance(m, nn.Linear)][-1]
    assert len(kept.missing_keys) == 2 and not kept.unexpected_keys  # The classifier's.
    nn.init.normal_(classifier.weight)
    torch.testing.assert_close(classifier(adapter.vector(x)), full(x), **TOLERANCE)
    if family.prefix:
        wanted = create_feature_extractor(full, ["encoder.ln", "encoder.layers.encoder_layer_1"])(x)
        torch.testing.assert_close(adapter.tokens(x)[0], wanted["encoder.ln"], **TOLERANCE)
        patches = wanted["encoder.layers.encoder_layer_1"][:, 1:].transpose(1, 2)
        found = adapter.maps(x, [1])[0]
        torch.testing.assert_close(found.flatten(2), patches, **TOLERANCE)
        return
    outputs = create_feature_extractor(full, NODES[family.name])(x)
    found = adapter.maps(x, range(4))
    last = list(outputs)[-1]
    if family.name == "torchvision-convnext":
        outputs[last] = full.classifier[0](outputs[last])
    for one, (node, other) in zip(found, outputs.items(), strict=True):
        if family.name == "torchvision-swin" and node != "permute":
            other = other.permute(0, 3, 1, 2)
        torch.testing.assert_close(one, other, **TOLERANCE)


def test_a_swin_of_timm_is_read_as_it_states_its_channels():
    # NHWC read as NCHW gives a vector of h = 2 numbers instead of 96.
    family = BY_NAME["timm-swin"]
    model = FrozenFeatures(family.config, feature="mean").eval()
    x = images(family)
    features = model.backbone.timm_model.forward_features(x)
    assert features.shape == (2, 2, 2, 96)
    torch.testing.assert_close(model(x), features.mean((1, 2)), **TOLERANCE)


def test_own_pooled_feature_of_a_probe():
    family = BY_NAME["timm-convnext"]
    model = FrozenFeatures(family.config, feature="own").eval()
    own = timm.create_model(
        "convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), num_classes=0
    )
    own.load_state_dict(model.backbone.timm_model.state_dict())
    x = images(family)
    torch.testing.assert_close(model(x), own.eval()(x), **TOLERANCE)


def test_a_register_is_no_class_token():
    family = BY_NAME["timm-registers-without-cls"]
    with pytest.raises(InputError, match=r"4 registers and no \[CLS\] token; set model.feature"):
        FrozenFeatures(family.config)(images(family))
    mean = FrozenFeatures(family.config, feature="mean")
    tokens = adapter_of(mean.backbone).tokens(images(family))[0]
    torch.testing.assert_close(mean(images(family)), tokens[:, 4:].mean(dim=1))


def test_class_attention_has_tokens_after_the_last_block_only():
    family = BY_NAME["timm-cait"]
    adapter = adapter_of(build(family))
    assert adapter.token_blocks == 1
    with pytest.raises(InputError, match=r"class attention.*set model.blocks=1"):
        adapter.tokens(images(family), 2)


STRIDES = {
    "a stem at stride 2": ((2, 4, 8, 16, 32), (4, 8, 16, 32)),
    "two stems": ((1, 2, 4, 8, 16, 32), (4, 8, 16, 32)),
    "small images": ((1, 2, 4, 8), (1, 2, 4, 8)),
    "dilated": ((2, 4, 8, 8, 8), (4, 8, 8, 8)),
    "three stages": ((16, 32, 64), (16, 32, 64)),
    "six strides": ((2, 4, 8, 16, 32, 64), (4, 8, 16, 32, 64)),
    "a transformer": ((16,) * 5, (16,) * 5),
}


@pytest.mark.parametrize("case", STRIDES)
def test_stages_are_counted_by_stride(case):
    given, wanted = STRIDES[case]
    kept = pyramid([Stage(9, 8, stride, "x", place) for place, stride in enumerate(given)])
    assert tuple(stage.stride for stage in kept) == wanted
    assert [stage.index for stage in kept] == list(range(len(kept)))
    assert [given[stage.place] for stage in kept] == list(wanted)


@pytest.mark.slow
def test_one_network_has_one_stage_in_every_library():
    torch.manual_seed(0)
    timms = build_map_backbone(dict(type="mmpretrain.TIMMBackbone", model_name="resnet18"), 2)
    weights = timms.timm_model.state_dict()
    x = torch.randn(1, 3, 64, 96)
    timms.eval()
    for config in (
        dict(type="mmpretrain.ResNet", depth=18),
        dict(type="bam_mm.TorchvisionBackbone", model_name="resnet18"),
    ):
        other = build_map_backbone(config, 2)
        other.load_state_dict(weights)
        other.eval()
        for stage in (0, 2, 3, None):
            found, wanted = (feature_map(b, x, stage) for b in (other, timms))
            torch.testing.assert_close(found, wanted, **TOLERANCE)
    assert feature_map(timms, x, 2).shape == (1, 256, 4, 6)


def test_a_densenet_of_mmpretrain_counts_its_stages_as_others_do():
    arch = dict(growth_rate=4, depths=[1, 2, 1, 1], init_channels=8)
    backbone = MODELS.build(dict(type="mmpretrain.DenseNet", arch=arch))
    backbone.eval()
    adapter, x = adapter_of(backbone), torch.randn(1, 3, 64, 64)
    assert adapter.strides == (4, 8, 16, 32)
    maps = adapter.maps(x, range(4))
    for number in (0, 1):
        following = backbone.stages[number + 1](backbone.transitions[number](maps[number]))
        torch.testing.assert_close(maps[number + 1], following)
    assert torch.equal(maps[-1], adapter.final(x)) and adapter.default_stage() == 3
    assert not any(block._forward_hooks for block in backbone.stages)


@pytest.mark.parametrize(
    "config, words",
    [
        (dict(type="HiViT", arch="tiny", img_size=64), "HiViT of mmpretrain loses the maps"),
        (dict(type="EdgeNeXt", arch="xxsmall"), "EdgeNeXt of mmpretrain normalises averages"),
        (
            dict(type="RevVisionTransformer", arch=ARCH, img_size=64, patch_size=16),
            "RevVisionTransformer of mmpretrain has no out_indices",
        ),
    ],
    ids=["HiViT", "EdgeNeXt", "RevViT"],
)
def test_what_gives_its_last_output_only_says_so(config, words):
    backbone = MODELS.build({**config, "type": f"mmpretrain.{config['type']}"}).to("meta")
    backbone.eval()
    with pytest.raises(InputError, match=rf"^{words}.*not possible; choose another network$"):
        adapter_of(backbone).maps(torch.zeros(1, 3, 64, 64, device="meta"))
    assert adapter_of(backbone).vector(torch.zeros(1, 3, 64, 64, device="meta")).ndim == 2


def test_both_tokens_of_a_distilled_deit_are_averaged():
    config = dict(type="mmpretrain.DistilledVisionTransformer", arch=ARCH, img_size=64)
    backbone = MODELS.build({**config, "patch_size": 16})
    nn.init.normal_(backbone.dist_token)
    backbone.eval()
    x = torch.randn(2, 3, 64, 64)
    tokens = adapter_of(backbone).tokens(x)[0]
    torch.testing.assert_close(adapter_of(backbone).vector(x), tokens[:, :2].mean(dim=1))


def test_a_measurement_reaches_the_network_of_torchvision():
    # GoogLeNet and Inception have auxiliary outputs unless they are in evaluation mode themselves.
    backbone = MODELS.build(BY_NAME["torchvision-resnet"].config).train()
    with evaluating(backbone):
        assert not backbone.net.training and not backbone.training
    assert backbone.net.training and backbone.training


class WithAuxiliary(nn.Module):
    """An auxiliary output that there is in training only, as in mmpretrain's Inception."""

    def forward(self, x):
        return None, x.mean(dim=(2, 3))


def test_an_output_that_is_missing_is_skipped():
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(adapter_of(WithAuxiliary()).vector(x), x.mean(dim=(2, 3)))


def test_a_network_without_stride_4_logs_what_a_stage_selects(monkeypatch):
    logged = []
    monkeypatch.setattr(
        "bam_mm.models.adapters.contract.print_log", lambda text, **_: logged.append(text)
    )
    x = torch.zeros(1, 3, 64, 64)
    for config in (dict(type="mmpretrain.ShuffleNetV2"), BY_NAME["own-maps"].config):
        backbone = build_map_backbone(config, 1)
        backbone.eval()
        for _ in range(2):
            feature_map(backbone, x, 1)
    assert logged == [
        "ShuffleNetV2: stage 1 has a stride of 16 pixels; the first stage has 8, not 4"
    ]
