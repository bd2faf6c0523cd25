"""Checkpoints of a pretraining that mmengine loads into downstream models: the teacher, or a stop.

mmpretrain's ``get_model``, ``FeatureExtractor`` and inferencers, mmdet's and mmseg's inferencers,
``load_from`` and the libraries' ``tools/test.py`` all call ``mmengine.runner.load_checkpoint``.
"""

import logging
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint

from bam_mm import InputError
from bam_mm.checkpoint import read_proof
from bam_mm.models.loading import LoadsBranch, RefusesPretraining
from tests.models import small_caformer  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [
    path
    for folder in ("cls", "det", "seg", "vos")
    for path in sorted((ROOT / "configs" / folder).glob("*.py"))
]
STOPS = r"is one of a pretraining, .*bam_mm.PretrainedBackbone.*bam-mm convert CK OUT"

_VIT = dict(
    arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32),
    img_size=32,
    patch_size=16,
)
MOCO = dict(type="mmpretrain.MoCoV3ViT", **_VIT)
VIT = dict(type="mmpretrain.VisionTransformer", **_VIT)
WHOLE = {
    "features": dict(type="bam_mm.FrozenFeatures", backbone=MOCO),
    "maps": dict(type="bam_mm.FrozenMaps", backbone=MOCO),
    "video": dict(type="bam_mm.LabelPropagation", backbone=MOCO),
}
HEAD = dict(type="mmpretrain.LinearClsHead", num_classes=2, in_channels=16)
CLASSIFIERS = {
    "fine-tuned": dict(type="bam_mm.ImageClassifier", backbone=VIT, head=HEAD),
    "linear": dict(type="bam_mm.FrozenBackboneClassifier", backbone=MOCO, head=HEAD),
}


def filled(backbone, value):
    state = backbone.state_dict()
    return {k: torch.full_like(v, value) if v.is_floating_point() else v for k, v in state.items()}


def pretraining(backbone, *, teacher=True):
    """Return a checkpoint of BAM: ones in the student, twos in the teacher."""
    state = {f"backbone.{k}": v for k, v in filled(backbone, 1).items()}
    state["neck.fc.weight"] = torch.ones(4, 4)
    if teacher:
        state |= {f"teacher.{k}": v + 1 if v.is_floating_point() else v for k, v in state.items()}
    return {"state_dict": state, "meta": {"epoch": 1}}


@pytest.fixture
def logged():
    """The messages that mmengine logs during a test."""
    messages = []

    class Collect(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    handler, logger = Collect(), MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_downstream_config_has_the_teacher_or_a_stop(path):
    config = Config.fromfile(path)
    kind = config.model.type
    model = MODELS.get(kind if kind.startswith("bam_mm.") else "bam_mm.Other")
    if model is None:
        assert kind in ("CascadeRCNN", "EncoderDecoder")
        assert issubclass(MODELS.get(config.model.backbone.type), RefusesPretraining)
    else:
        assert issubclass(model, LoadsBranch if "head" not in config.model else RefusesPretraining)


@pytest.mark.parametrize("branch", [None, "teacher", "student"])
@pytest.mark.parametrize("name", WHOLE)
def test_a_model_that_is_a_backbone_takes_the_branch(tmp_path, name, branch, logged, monkeypatch):
    # A run's log names the folder for the proof; there is no run here.
    monkeypatch.setattr("bam_mm.models.loading.work_folder", lambda: tmp_path)
    config = WHOLE[name] | ({"branch": branch} if branch else {})
    model = MODELS.build(config)
    torch.save(pretraining(model.backbone), tmp_path / "bam.pth")
    load_checkpoint(model, str(tmp_path / "bam.pth"), logger="current")
    value = 1 if branch == "student" else 2
    floats = [v for v in model.backbone.state_dict().values() if v.is_floating_point()]
    assert all((v == value).all() for v in floats)
    prefix = "backbone." if branch == "student" else "teacher.backbone."
    [text] = [text for text in logged if text.startswith("loaded all")]
    assert f"all {len(floats)} tensors of the backbone from" in text and f" ({prefix}*;" in text
    proof = read_proof(tmp_path)
    assert proof["prefix"] == prefix and proof["loaded"] == len(floats)
    assert not any("do not match" in text for text in logged)


def test_own_checkpoints_and_incomplete_ones(tmp_path):
    model = MODELS.build(WHOLE["features"])
    own = filled(model, 3)
    torch.save({"state_dict": own}, tmp_path / "own.pth")
    load_checkpoint(model, str(tmp_path / "own.pth"), strict=True)
    model.load_state_dict(own)
    assert all(torch.equal(v, own[k]) for k, v in model.state_dict().items())
    content = pretraining(model.backbone)
    del content["state_dict"]["teacher.backbone.cls_token"]
    torch.save(content, tmp_path / "bam.pth")
    with pytest.raises(InputError, match="1 missing: cls_token"):
        load_checkpoint(model, str(tmp_path / "bam.pth"))


@pytest.mark.parametrize("teacher", [True, False])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_stops_with_one_message(tmp_path, name, teacher):
    from mmpretrain import get_model

    config = Config(dict(model=CLASSIFIERS[name]))
    model = MODELS.build(config.model)
    before = {key: value.clone() for key, value in model.head.state_dict().items()}
    torch.save(pretraining(model.backbone, teacher=teacher), tmp_path / "bam.pth")
    with pytest.raises(InputError, match=STOPS) as stop:
        get_model(config, pretrained=str(tmp_path / "bam.pth"))
    assert "\n" not in str(stop.value)
    assert all(torch.equal(v, before[k]) for k, v in model.head.state_dict().items())
    # A checkpoint of the classifier itself, also of its moving average or in DDP, is its own.
    own = filled(model, 3)
    for prefix in ("", "module."):
        torch.save(
            {"state_dict": {f"{prefix}{k}": v for k, v in own.items()}}, tmp_path / "own.pth"
        )
        load_checkpoint(model, str(tmp_path / "own.pth"), strict=True)
        assert all(torch.equal(v, own[k]) for k, v in model.state_dict().items())
        model.load_state_dict(filled(model, 0))


def test_backbone_alone_may_be_loaded_into_a_classifier(tmp_path):
    model = MODELS.build(CLASSIFIERS["fine-tuned"])
    state = {f"backbone.{k}": v for k, v in filled(model.backbone, 5).items()}
    torch.save({"state_dict": state}, tmp_path / "converted.pth")
    load_checkpoint(model, str(tmp_path / "converted.pth"))
    assert (model.backbone.cls_token == 5).all()


DENSE = {
    "vit": dict(type="bam_mm.DenseViT", blocks=(0,), **_VIT),
    "resnet": dict(type="bam_mm.DenseResNet", depth=18, stem_channels=4, base_channels=4),
    "caformer": dict(type="bam_mm.DenseCAFormer", model_name="caformer_of_tests"),
    "timm": dict(
        type="bam_mm.DenseTIMM",
        model_name="vit_tiny_patch16_224",
        stages=(0,),
        **dict(embed_dim=16, depth=1, num_heads=2, img_size=32),
    ),
}


@pytest.mark.parametrize("name", DENSE)
def test_a_segmentor_stops_and_keeps_its_own_checkpoints(tmp_path, name):
    init_default_scope("mmseg")
    head = dict(type="FCNHead", in_channels=4, in_index=0, channels=4, num_classes=2, num_convs=0)
    head |= dict(concat_input=False)
    config = dict(backbone=DENSE[name], decode_head=head, test_cfg={})
    model = MODELS.build(dict(config, type="mmseg.EncoderDecoder"))
    torch.save(pretraining(model.backbone), tmp_path / "bam.pth")
    with pytest.raises(InputError, match=STOPS):
        load_checkpoint(model, str(tmp_path / "bam.pth"))
    with pytest.raises(InputError, match=STOPS):
        load_checkpoint(model.backbone, str(tmp_path / "bam.pth"))
    own = filled(model, 3)
    torch.save({"state_dict": own}, tmp_path / "own.pth")
    load_checkpoint(model, str(tmp_path / "own.pth"), strict=True)
    assert all(torch.equal(v, own[k]) for k, v in model.state_dict().items())


def bam(**options):
    return MODELS.build(
        dict(
            type="bam_mm.BAM",
            backbone=DENSE["vit"],
            neck=dict(type="bam_mm.BAMProjector", in_channels=16, hid_channels=8, out_channels=8),
            head=dict(type="bam_mm.BAMHead"),
            layout=dict(num_global=2, num_local=0, global_size=32, local_size=16),
            **options,
        )
    )


def test_the_pretraining_model_extracts_the_features_of_its_teacher():
    images = torch.randn(2, 3, 32, 32)
    model = bam().eval()
    torch.nn.init.ones_(model.backbone.pos_embed)
    torch.nn.init.zeros_(model.teacher.backbone.pos_embed)
    [features] = model(images, mode="tensor")
    torch.testing.assert_close(features, model.teacher.backbone(images)[0])
    assert not torch.allclose(features, model.backbone(images)[0])
    alone = bam(use_teacher=False).eval()
    torch.testing.assert_close(alone.extract_feat(images), alone.backbone(images))


def test_the_pretraining_itself_resumes(tmp_path):
    model = bam()
    own = filled(model, 3)
    torch.save({"state_dict": own}, tmp_path / "own.pth")
    load_checkpoint(model, str(tmp_path / "own.pth"), strict=True)
    assert all(torch.equal(v, own[k]) for k, v in model.state_dict().items())
