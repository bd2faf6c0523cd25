"""The initialiser ``bam_mm.PretrainedBackbone`` for backbones of mmpretrain, mmdet and mmseg."""

import json

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import MODELS, WEIGHT_INITIALIZERS, init_default_scope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

import bam_mm  # noqa: F401
from bam_mm.checkpoint import PROOF
from bam_mm.errors import InputError
from bam_mm.models.pretrained_backbone import check_initialisers
from tests.models import small_caformer  # noqa: F401
from tests.pages import blocks

_VIT = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
_SWIN = dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2)
_TIMM_VIT = dict(embed_dim=16, depth=1, num_heads=2, img_size=32, patch_size=16)

BACKBONES = {
    "mmpretrain-vit": dict(
        type="mmpretrain.VisionTransformer", arch=_VIT, img_size=32, layer_scale_init_value=0.1
    ),
    "mmpretrain-mocov3": dict(type="mmpretrain.MoCoV3ViT", arch=_VIT, img_size=32, patch_size=16),
    "mmpretrain-beit": dict(type="mmpretrain.BEiTViT", arch=_VIT, img_size=32),
    "mmpretrain-resnet": dict(
        type="mmpretrain.ResNet",
        depth=18,
        stem_channels=4,
        base_channels=4,
        zero_init_residual=True,
    ),
    "mmpretrain-swin": dict(
        type="mmpretrain.SwinTransformer",
        arch=dict(embed_dims=8, depths=[1, 1], num_heads=[1, 1]),
        img_size=32,
        window_size=2,
        use_abs_pos_embed=True,
        out_indices=(1,),
    ),
    "mmpretrain-timm": dict(
        type="mmpretrain.TIMMBackbone", model_name="vit_tiny_patch16_224", **_TIMM_VIT
    ),
    "mmdet-resnet": dict(type="mmdet.ResNet", depth=18, base_channels=4, stem_channels=4),
    "mmdet-swin": dict(type="mmdet.SwinTransformer", **_SWIN),
    "mmseg-resnet": dict(type="mmseg.ResNetV1c", depth=18, base_channels=4, stem_channels=4),
    "mmseg-mit": dict(
        type="mmseg.MixVisionTransformer",
        embed_dims=4,
        num_layers=[1, 1],
        num_stages=2,
        num_heads=[1, 1],
        patch_sizes=[7, 3],
        strides=[4, 2],
        sr_ratios=[2, 1],
        out_indices=(0, 1),
    ),
    "mmseg-vit": dict(
        type="mmseg.VisionTransformer",
        img_size=(32, 32),
        embed_dims=16,
        num_layers=1,
        num_heads=2,
        out_indices=0,
    ),
    "dense-vit": dict(type="bam_mm.DenseViT", blocks=(0,), arch=_VIT, img_size=32),
    "dense-timm": dict(
        type="bam_mm.DenseTIMM", stages=(0,), model_name="vit_tiny_patch16_224", **_TIMM_VIT
    ),
    "dense-caformer": dict(
        type="bam_mm.DenseCAFormer", stages=(0, 1), model_name="caformer_of_tests"
    ),
}

READ_INIT_CFG_THEMSELVES = {"mmdet-swin"}


class Model(BaseModule):
    """Any model with a backbone and a head."""

    def __init__(self, backbone, init_cfg=None):
        super().__init__(init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(2, 2)


def pretraining_file(path, backbone):
    """Write a checkpoint of BAM with two branches, and return the backbone of its teacher."""
    generator = torch.Generator().manual_seed(0)
    state, teacher = {}, {}
    for prefix in ("backbone.", "teacher.backbone."):
        for key, tensor in backbone.state_dict().items():
            value = tensor
            if tensor.is_floating_point():
                value = 1 + torch.rand(tensor.shape, generator=generator)
            state[prefix + key] = value
            teacher[key] = value
    state |= {"neck.fc.weight": torch.ones(2, 2), "teacher.neck.fc.weight": torch.ones(2, 2)}
    torch.save({"state_dict": state}, path)
    return teacher


def assert_equal(backbone, state):
    wrong = [k for k, v in backbone.state_dict().items() if not torch.equal(v, state[k])]
    assert not wrong


@pytest.mark.parametrize("place", ["backbone", "model"])
@pytest.mark.parametrize("name", BACKBONES)
def test_initialised_backbone_is_the_teacher_of_the_file(tmp_path, name, place):
    config = ConfigDict(BACKBONES[name])
    teacher = pretraining_file(tmp_path / "bam.pth", MODELS.build(config))
    init = ConfigDict(type="bam_mm.PretrainedBackbone", checkpoint=str(tmp_path / "bam.pth"))
    if place == "backbone":
        model = Model(ConfigDict(config, init_cfg=init))
        if name in READ_INIT_CFG_THEMSELVES:
            with pytest.raises(InputError, match=r"write the same init_cfg in model instead"):
                check_initialisers(model)
            return
    else:
        model = Model(config, init_cfg=init)
    check_initialisers(model)
    model.init_weights()
    assert_equal(model.backbone, teacher)
    model.init_weights()
    assert_equal(model.backbone, teacher)


@pytest.mark.parametrize("scope", ["mmpretrain", "mmdet", "mmseg", "mmengine"])
def test_initialiser_is_found_in_every_scope_and_takes_the_branch(tmp_path, scope):
    config = BACKBONES["mmdet-resnet"]
    teacher = pretraining_file(tmp_path / "bam.pth", MODELS.build(config))
    init_default_scope(scope)
    model = Model(
        dict(
            config,
            init_cfg=dict(
                type="bam_mm.PretrainedBackbone", checkpoint=tmp_path / "bam.pth", branch="student"
            ),
        )
    )
    model.init_weights()
    key = "layer1.0.conv1.weight"
    assert not torch.equal(model.backbone.state_dict()[key], teacher[key])
    student = torch.load(tmp_path / "bam.pth", weights_only=True)["state_dict"][f"backbone.{key}"]
    assert torch.equal(model.backbone.state_dict()[key], student)


def test_wrong_settings_stop(tmp_path):
    config = BACKBONES["mmdet-resnet"]
    pretraining_file(tmp_path / "bam.pth", MODELS.build(dict(config, base_channels=8)))
    init = dict(type="bam_mm.PretrainedBackbone", checkpoint=tmp_path / "bam.pth")

    def start(**options):
        Model(dict(config, init_cfg=options.get("all", dict(init, **options)))).init_weights()

    with pytest.raises(InputError, match="does not hold the config's backbone"):
        start()
    with pytest.raises(InputError, match="choose 'teacher' or 'student'"):
        start(branch="target")
    with pytest.raises(InputError, match="does not exist"):
        start(checkpoint=tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"checkpoint=None: set the path .* or remove this init_c"):
        start(checkpoint=None)
    with pytest.raises(InputError, match=r"https://example.org/a.pth is an address, and nothing"):
        start(checkpoint="https://example.org/a.pth")
    with pytest.raises(InputError, match=r"init_cfg\.trust='no': write True or False"):
        start(trust="no")
    later = dict(type="Constant", layer="Conv2d", val=0)
    with pytest.raises(InputError, match="Constant follows PretrainedBackbone"):
        start(all=[init, later])


def test_other_initialisers_may_precede(tmp_path):
    config = BACKBONES["mmdet-resnet"]
    teacher = pretraining_file(tmp_path / "bam.pth", MODELS.build(config))
    init = dict(type="bam_mm.PretrainedBackbone", checkpoint=tmp_path / "bam.pth")
    model = Model(dict(config, init_cfg=[dict(type="Constant", layer="Conv2d", val=0), init]))
    model.init_weights()
    assert_equal(model.backbone, teacher)


class _Images(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return dict(inputs=torch.zeros(3, 32, 32, dtype=torch.uint8), data_samples=_sample())


def _sample():
    from mmpretrain.structures import DataSample

    return DataSample().set_gt_label(0)


def runner(folder, backbone, **options):
    return Runner(
        model=dict(
            type="bam_mm.ImageClassifier",
            data_preprocessor=dict(mean=[0, 0, 0], std=[1, 1, 1], num_classes=2),
            backbone=backbone,
            head=dict(type="LinearClsHead", num_classes=2, in_channels=16),
        ),
        work_dir=str(folder),
        train_dataloader=DataLoader(_Images(), collate_fn=_collate, batch_size=2),
        train_cfg=dict(by_epoch=True, max_epochs=options.pop("epochs", 1)),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.0)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
        default_scope="mmpretrain",
        custom_hooks=[dict(type="EMAHook")],
        **options,
    )


def test_runner_starts_from_the_teacher_keeps_the_proof_and_resumes(tmp_path):
    backbone = BACKBONES["mmpretrain-vit"]
    teacher = pretraining_file(tmp_path / "bam.pth", MODELS.build(backbone))
    init = dict(type="bam_mm.PretrainedBackbone", checkpoint=str(tmp_path / "bam.pth"))
    first = runner(tmp_path / "run", dict(backbone, init_cfg=init))
    first.train()
    assert_equal(first.model.backbone, teacher)
    proof = json.loads((tmp_path / "run" / PROOF).read_text())
    assert proof["prefix"] == "teacher.backbone."
    assert proof["loaded"] == len(teacher)
    head = first.model.head.state_dict()
    second = runner(tmp_path / "run", dict(backbone, init_cfg=init), epochs=2, resume=True)
    second.train()
    assert second.epoch == 2
    assert_equal(second.model.backbone, teacher)
    assert_equal(second.model.head, head)
    # mmengine's own loading from the pretraining would take the student.
    third = runner(tmp_path / "other", backbone, load_from=str(tmp_path / "bam.pth"))
    with pytest.raises(InputError, match="is one of a pretraining"):
        third.train()


def _collate(items):
    return {key: [item[key] for item in items] for key in items[0]}


def test_the_config_of_the_documentation(tmp_path):
    [text] = [text for text in blocks("docs/checkpoints.md", "python") if "init_cfg=" in text]
    (tmp_path / "config.py").write_text(text)
    backbone = Config.fromfile(tmp_path / "config.py").model.backbone
    init = backbone.pop("init_cfg")
    assert backbone.type == "ResNet" and init.keys() == {"type", "checkpoint", "branch"}
    assert WEIGHT_INITIALIZERS.build(init).branch == "teacher"
