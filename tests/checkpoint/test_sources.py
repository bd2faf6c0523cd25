"""Backbones by short name."""

import mmpretrain.models
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.apis.model import ModelHub

from bam_mm import InputError
from bam_mm.checkpoint import build_backbone, parse_backbone
from bam_mm.checkpoint.recorded_config import parse_settings
from bam_mm.registry import MODELS
from tests.checkpoint.layouts import ARCH, mm_vit, prefixed


def bam_checkpoint(tmp_path, **backbone):
    config = Config(
        dict(
            default_scope="mmpretrain",
            model=dict(
                type="bam_mm.BAM",
                backbone=dict(type="MoCoV3ViT", arch=ARCH, img_size=32, patch_size=8, **backbone),
                neck=dict(sizes=(1, 2), last=None, on=True),
            ),
        )
    )
    student, teacher = mm_vit(1), mm_vit(2)
    state = {
        **prefixed("backbone.", student.state_dict()),
        **prefixed("teacher.backbone.", teacher.state_dict()),
    }
    path = tmp_path / "epoch_3.pth"
    torch.save({"state_dict": state, "meta": {"cfg": config.pretty_text}}, path)
    return path, student, teacher


def test_bam_checkpoint_contains_the_config_of_its_backbone(tmp_path):
    init = dict(type="Pretrained", checkpoint="/nowhere.pth")
    path, student, teacher = bam_checkpoint(tmp_path, init_cfg=init)
    source = parse_backbone(f"bam:{path}")
    assert (source.kind, source.path, source.branch) == ("bam", path, "teacher")
    assert source.config == dict(type="mmpretrain.MoCoV3ViT", arch=ARCH, img_size=32, patch_size=8)
    for spec, wanted in ((f"bam:{path}", teacher), (f"bam:{path}@student", student)):
        model, report = build_backbone(spec)
        assert report.loaded == len(wanted.state_dict())
        state = model.state_dict()
        assert all(torch.equal(state[key], value) for key, value in wanted.state_dict().items())
    model, _ = build_backbone(source, out_type="featmap")
    assert model(torch.ones(1, 3, 32, 32))[0].shape == (1, 24, 4, 4)


SMALL_VIT = dict(arch=ARCH, img_size=32, patch_size=8)


@pytest.mark.parametrize(
    "name, pretraining, mask",
    [
        ("mae_vit-base-p16_8xb512-amp-coslr-300e_in1k", "MAEViT", None),
        ("eva-mae-style_vit-base-p16_16xb256-coslr-400e_in1k", "MAEViT", None),
        ("milan_vit-base-p16_16xb256-amp-coslr-400e_in1k", "MILANViT", None),
        ("maskfeat_vit-base-p16_8xb256-amp-coslr-300e_in1k", "MaskFeatViT", torch.zeros(1, 16)),
        ("beit_beit-base-p16_8xb256-amp-coslr-300e_in1k", "BEiTPretrainViT", torch.zeros(1, 16)),
        ("cae_beit-base-p16_8xb256-amp-coslr-300e_in1k", "CAEPretrainViT", torch.zeros(1, 16)),
    ],
)
def test_a_pretraining_that_hides_patches_gives_the_features_of_whole_images(
    name, pretraining, mask, tmp_path
):
    torch.manual_seed(0)
    settings = {k: v for k, v in ModelHub.get(name).config.model.backbone.items() if k != "type"}
    full = getattr(mmpretrain.models, pretraining)(**{**settings, **SMALL_VIT})
    full.eval()
    state = full.state_dict()
    for value in state.values():
        if value.is_floating_point():
            value.add_(0.1 * torch.randn_like(value))
    torch.save({"state_dict": prefixed("backbone.", state)}, tmp_path / "c.pth")
    source = parse_backbone(f"mmpretrain:{name}@{tmp_path / 'c.pth'}")
    backbone, _ = build_backbone(source, **SMALL_VIT, out_type="raw")
    backbone.eval()
    images = torch.randn(1, 3, 32, 32)
    if pretraining == "CAEPretrainViT":
        mask = mask.bool()
    with torch.no_grad():
        wanted, found = full(images, mask), backbone(images)
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    assert torch.allclose(found[-1], wanted, atol=1e-5)


SMALL_STAGES = dict(embed_dims=24, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2])


@pytest.mark.parametrize(
    "name, kind, small",
    [
        ("mixmim_mixmim-base_16xb128-coslr-300e_in1k", "MixMIMTransformer", SMALL_STAGES),
        ("simmim_swin-base-w6_8xb256-amp-coslr-100e_in1k-192px", "SwinTransformer", SMALL_STAGES),
        ("spark_sparse-resnet50_800e_in1k", "ResNet", None),
    ],
)
def test_other_pretrainings_that_hide_patches_have_the_tensors_of_another_class(name, kind, small):
    init_default_scope("mmpretrain")  # For SparK's norms.
    config = parse_backbone(f"random:{name}").config
    assert config["type"] == f"mmpretrain.{kind}"
    size = dict(depth=18) if small is None else dict(arch=small)
    settings = {**ModelHub.get(name).config.model.backbone, **size}
    full = MODELS.build({**settings, "type": f"mmpretrain.{settings['type']}"})
    pair = [MODELS.build({**config, **size}), full]
    own, other = (
        {key: value.shape for key, value in x.state_dict().items() if key != "mask_token"}
        for x in pair
    )
    assert own == other


@pytest.mark.parametrize(
    "name, words",
    [
        (
            "mff_vit-base-p16_8xb512-amp-coslr-300e_in1k",
            "MFFViT only sees.*vit-base-p16_mff-300e-pre",
        ),
        ("itpn-pixel_hivit-base-p16_8xb512-amp-coslr-800e_in1k", "iTPNHiViT only sees images"),
        ("spark_sparse-convnextv2-tiny_800e_in1k", "convnextv2-tiny_spark-pre_"),
        ("replknet-31b_3rdparty_in1k", "mmpretrain cannot read its own config of replknet-31b"),
    ],
)
def test_models_of_the_index_without_features_of_whole_images(name, words):
    with pytest.raises(InputError, match=words):
        parse_backbone(f"random:{name}")


def test_a_network_with_a_classifier_inside_is_built_without_it(tmp_path):
    state = mmpretrain.models.VGG(11).state_dict()
    head = {"classifier.6.weight": torch.zeros(3, 5), "classifier.6.bias": torch.zeros(3)}
    torch.save({"state_dict": prefixed("backbone.", {**state, **head})}, tmp_path / "c.pth")
    backbone, report = build_backbone(f"mmpretrain:vgg11_8xb32_in1k@{tmp_path / 'c.pth'}")
    assert report.unused == [f"backbone.{key}" for key in sorted(head)]
    backbone.eval()
    assert backbone(torch.zeros(1, 3, 32, 32))[-1].shape == (1, 512, 1, 1)
    # A number of classes that adds no classifier stays.
    assert parse_backbone("random:inception-v3_3rdparty_8xb32_in1k").config["num_classes"] == 1000


def test_recorded_config_is_not_run(tmp_path):
    trap = tmp_path / "sprung"
    text = f"a = open({str(trap)!r}, 'w')\nmodel = dict(x=[1, (2.5, None)], y={{'z': -1}})\n"
    assert parse_settings(text) == {"model": {"x": [1, (2.5, None)], "y": {"z": -1}}}
    assert not trap.exists()


def test_file_without_the_config_of_its_backbone(tmp_path):
    for content in ({"state_dict": mm_vit(1).state_dict()}, {"meta": {"cfg": "model = f(1)"}}):
        torch.save(content, tmp_path / "c.pth")
        with pytest.raises(InputError, match=r"does not state which backbone.*vit-base-p16@PATH"):
            parse_backbone(f"bam:{tmp_path / 'c.pth'}")


def test_timm_with_a_file(tmp_path):
    import timm

    model = timm.create_model("test_vit", num_classes=4)
    torch.save(model.state_dict(), tmp_path / "c@home.pth")
    mine, report = build_backbone(f"timm:test_vit@{tmp_path / 'c@home.pth'}")
    assert report.unused == ["head.bias", "head.weight"]
    state = model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in mine.timm_model.state_dict().items())


def test_a_timm_model_with_blocks_that_is_no_vit(tmp_path):
    import timm

    model = timm.create_model("tf_efficientnet_lite0", num_classes=7)
    torch.save(model.state_dict(), tmp_path / "lite.pth")
    loaded, report = build_backbone(f"timm:tf_efficientnet_lite0@{tmp_path}/lite.pth")
    state = {k.removeprefix("timm_model."): v for k, v in loaded.state_dict().items()}
    wanted = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier.")}
    assert report.unused == ["classifier.bias", "classifier.weight"]
    assert len(wanted) > 200 and state.keys() == wanted.keys()
    assert all(torch.equal(state[k], v) for k, v in wanted.items())


def test_mmpretrain_names(tmp_path):
    source = parse_backbone("mmpretrain:resnet18_8xb32_in1k@weights.pth")
    assert source.config["type"] == "mmpretrain.ResNet" and source.config["depth"] == 18
    assert parse_backbone("mmpretrain:vit-small-p16@x.pth").config["arch"] == "mocov3-small"
    with pytest.raises(InputError, match=r"needs its weights, nothing is downloaded.*random:resn"):
        parse_backbone("mmpretrain:resnet18_8xb32_in1k")


def test_random_weights():
    model, report = build_backbone("random:vit-small-p16", img_size=32)
    assert report is None and model.pos_embed[0, 1:].std() > 0.1  # sin-cos, by init_weights
    model, report = build_backbone("random:timm:test_vit")
    assert report is None and type(model).__name__ == "TIMMBackbone"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            "timm:vit_smal_patch16_224@x.pth",
            r"no model 'vit_smal_patch16_224'; similar names: vit_sm",
        ),
        ("mmpretrain:resnet18_8xb32_in1@x.pth", r"similar names: .*resnet18_8xb32_in1k"),
        ("random:vit-bas-p16", r"similar names: vit-base-p16"),
        ("timm:@x.pth", r"write one of timm:NAME"),
        ("timm:test_vit@", r"write one of timm:NAME"),
        ("resnet50", r"write one of timm:NAME"),
        ("random:keras:resnet50", r"write one of"),
        ("bam:/nowhere.pth", r"/nowhere.pth does not exist"),
    ],
)
def test_wrong_names_raise_one_message(spec, words):
    with pytest.raises(InputError, match=words):
        parse_backbone(spec)


def test_timm_without_a_file_uses_the_cache_only(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"not in the Hugging Face cache.*timm:test_vit@PATH"):
        parse_backbone("timm:test_vit")


def test_an_unknown_branch_of_a_file(tmp_path):
    (tmp_path / "bam.pth").touch()
    with pytest.raises(InputError, match=r"no branch 'techer'; choose teacher or student"):
        parse_backbone(f"bam:{tmp_path / 'bam.pth'}@techer")
