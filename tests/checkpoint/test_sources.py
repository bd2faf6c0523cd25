"""Backbones by short name."""

import pytest
import torch
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.checkpoint import build_backbone, parse_backbone
from bam_mm.checkpoint.recorded_config import parse_settings
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
