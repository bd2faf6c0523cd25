"""The preprocessing that a model was trained with, wherever it is stated."""

import json
import shutil
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from mmengine.config import Config

from bam_mm.checkpoint import convert_checkpoint, parse_backbone
from bam_mm.checkpoint.file_preprocessing import (
    checkpoint_preprocessing,
    library_of_unknown,
    model_preprocessing,
)
from bam_mm.checkpoint.geometry import Geometry, is_default, read_geometry, set_geometry
from bam_mm.checkpoint.library_preprocessing import (
    index_preprocessing,
    other_tags,
    settings_preprocessing,
    timm_preprocessing,
)
from bam_mm.checkpoint.preprocessing import IMAGENET, from_facts
from bam_mm.models import FrozenFeatures

CLIP_MEAN = [255 * v for v in (0.48145466, 0.4578275, 0.40821073)]
CLIP_STD = [255 * v for v in (0.26862954, 0.26130258, 0.27577711)]
HALF = ([127.5] * 3, [127.5] * 3)


def timm_backbone(name, **kwargs):
    return dict(type="mmpretrain.TIMMBackbone", model_name=name, **kwargs)


@pytest.mark.parametrize(
    "name,mean,std,size,short_side",
    [
        ("tf_efficientnet_lite0", *HALF, 224, 256),
        ("vit_base_patch16_clip_224.openai", CLIP_MEAN, CLIP_STD, 224, 248),
        ("inception_v4", *HALF, 299, 341),
        ("vit_base_patch16_224.augreg_in21k", *HALF, 224, 248),
        ("vit_base_patch16_224.dino", IMAGENET.mean, IMAGENET.std, 224, 248),
        ("resnet50", IMAGENET.mean, IMAGENET.std, 224, 235),
        ("mobilevit_s", [0] * 3, [255] * 3, 256, 284),  # timm only scales pixels to [0, 1]
    ],
)
def test_timm(name, mean, std, size, short_side):
    found = timm_preprocessing(timm_backbone(name))
    assert found.mean == pytest.approx(mean) and found.std == pytest.approx(std)
    assert found.geometry.size == size and found.geometry.short_side == short_side
    assert found.geometry.interpolation == "bicubic" and found.channels == "rgb"
    assert name.split(".")[0] in found.source and found.source.startswith("timm's")


def test_timm_models_that_state_nothing_or_another_size():
    assert timm_preprocessing(timm_backbone("vit_base_patch16_224.nope")) is None
    assert timm_preprocessing(timm_backbone("my_own_network")) is None
    assert timm_preprocessing(dict(type="mmpretrain.ResNet", depth=50)) is None
    # BAM's CAFormer differs from timm's pretrained one.
    assert timm_preprocessing(dict(type="bam_mm.CAFormer", model_name="caformer_m36")) is None
    small = timm_preprocessing(timm_backbone("vit_tiny_patch16_224", img_size=96))
    assert (small.geometry.size, small.geometry.short_side) == (96, 106)  # 96 / 0.9


def test_tags_with_another_normalisation():
    assert "vit_base_patch16_224.dino" in other_tags(timm_backbone("vit_base_patch16_224"))
    for name in ("vit_base_patch16_224.dino", "vit_tiny_patch16_224", "tf_efficientnet_lite0"):
        assert other_tags(timm_backbone(name)) == []


# A pixel of (R, G, B) = (10, 100, 200) in the BGR order of our pipelines.
PIXEL = torch.tensor([200, 100, 10], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)


@pytest.mark.parametrize(
    "backbone,wanted",
    [
        # (10 - 127.5) / 127.5, (100 - 127.5) / 127.5, (200 - 127.5) / 127.5
        (timm_backbone("tf_efficientnet_lite0"), [-0.9215686, -0.2156863, 0.5686275]),
        (timm_backbone("inception_v4"), [-0.9215686, -0.2156863, 0.5686275]),
        # (10 / 255 - .48145466) / .26862954, ...
        (
            timm_backbone("vit_base_patch32_clip_224.openai", depth=1, embed_dim=32, num_heads=2),
            [-1.646278, -0.251320, 1.363793],
        ),
        # (10 - 123.675) / 58.395, (100 - 116.28) / 57.12, (200 - 103.53) / 57.375
        (timm_backbone("resnet18"), [-1.9466564, -0.2850140, 1.6813943]),
        (dict(type="mmpretrain.ResNet", depth=18), [-1.9466564, -0.2850140, 1.6813943]),
    ],
)
def test_pixels_of_frozen_features(backbone, wanted, monkeypatch):
    monkeypatch.setattr(
        "bam_mm.models.frozen_features.build_token_backbone", lambda *_: torch.nn.Identity()
    )
    for explicit, pixels in ((None, wanted), (dict(mean=[0] * 3, std=[1] * 3), [200, 100, 10])):
        model = FrozenFeatures(backbone, data_preprocessor=explicit)
        seen = model.data_preprocessor({"inputs": PIXEL, "data_samples": None})["inputs"]
        assert seen[0, :, 0, 0].tolist() == pytest.approx(pixels, abs=1e-5)


@pytest.mark.parametrize(
    "name,mean,channels,size",
    [
        ("resnet50_8xb32_in1k", 123.675, "rgb", 224),
        ("regnetx-400mf_8xb128_in1k", 103.53, "bgr", 224),  # takes BGR
        ("beit-base-p16_beit-in21k-pre_3rdparty_in1k", 127.5, "rgb", 224),
        ("resnet18_8xb16_cifar10", 125.307, "rgb", None),  # its data set returns RGB
        ("efficientnet-b0_3rdparty_8xb32_in1k", 123.675, "rgb", 224),  # own centre crop
    ],
)
def test_mmpretrains_index(name, mean, channels, size):
    found = index_preprocessing(name)
    assert found.mean[0] == mean and found.channels == channels and name in found.source
    assert (found.geometry.size if found.geometry else None) == size


def test_short_names_state_nothing_and_random_weights_state_the_same_as_trained():
    for spec in ("random:vit-base-p16", "random:resnet50", "random:resnet18-w16"):
        assert parse_backbone(spec).preprocessing() is None
    assert parse_backbone("random:timm:tf_efficientnet_lite0").preprocessing().mean == (127.5,) * 3
    named = parse_backbone("random:regnetx-400mf_8xb128_in1k").preprocessing()
    assert named.channels == "bgr"


def recorded(tmp_path, name="c.pth", state=None, **settings):
    path = tmp_path / name
    meta = {"cfg": Config(settings).pretty_text} if settings else {}
    torch.save({"state_dict": state or {"backbone.x": torch.zeros(1)}, "meta": meta}, path)
    return path


def test_recorded_configs(tmp_path):
    values = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
    backbone = dict(type="MoCoV3ViT")
    cases = [
        # Where it stands, and in which order of channels.
        (dict(data_preprocessor=dict(values, to_rgb=True)), "rgb"),
        (dict(model=dict(data_preprocessor=dict(values, bgr_to_rgb=True))), "rgb"),
        (dict(model=dict(data_preprocessor=dict(values, to_rgb=False))), "bgr"),
        (dict(img_norm_cfg=dict(values, to_rgb=True)), "rgb"),
    ]
    for number, (settings, channels) in enumerate(cases):
        model = dict(type="BAM", backbone=backbone, **settings.pop("model", {}))
        path = recorded(tmp_path, f"{number}.pth", model=model, **settings)
        found = checkpoint_preprocessing(path)
        assert found.mean == (1, 2, 3) and found.std == (4, 5, 6) and found.channels == channels
        assert str(path) in found.source
        # The weights' own record comes before what timm says about the architecture.
        assert model_preprocessing(timm_backbone("tf_efficientnet_lite0"), path) == found
        spec = parse_backbone(f"bam:{path}")
        assert spec.preprocessing() == found
        assert parse_backbone(f"random:bam:{path}").preprocessing() == found
    ours = dict(type="bam_mm.MultiViewPreprocessor")
    path = recorded(tmp_path, model=dict(backbone=backbone, data_preprocessor=ours))
    assert checkpoint_preprocessing(path).is_imagenet
    none = dict(type="SelfSupDataPreprocessor")
    path = recorded(tmp_path, "none.pth", model=dict(backbone=backbone, data_preprocessor=none))
    assert checkpoint_preprocessing(path).std == (1, 1, 1)  # stated: nothing is normalised


def test_only_complete_models_have_the_recorded_size(tmp_path):
    pipeline = Geometry(299, 0.875).steps()
    loader = dict(dataset=dict(type="ImageFolder", pipeline=pipeline))
    path = recorded(
        tmp_path, data_preprocessor=dict(mean=[1.0] * 3, std=[2.0] * 3), test_dataloader=loader
    )
    assert checkpoint_preprocessing(path).geometry is None
    whole = checkpoint_preprocessing(path, geometry=True)
    assert whole.geometry.size == 299 and whole.geometry.short_side == 341


def test_files_of_self_supervised_methods_are_imagenets(tmp_path):
    dino = tmp_path / "dino.pth"
    state = {"backbone.cls_token": torch.zeros(1), "head.mlp.0.weight": torch.zeros(1)}
    torch.save({"teacher": state, "student": state}, dino)
    found = model_preprocessing(timm_backbone("vit_base_patch16_224"), dino)
    assert found.is_imagenet and "DINO" in found.source and found.geometry is None
    # The record of a complete model is never guessed.
    assert checkpoint_preprocessing(dino, geometry=True) is None
    plain = tmp_path / "plain.pth"
    torch.save({"cls_token": torch.zeros(1)}, plain)
    found = model_preprocessing(timm_backbone("vit_base_patch16_224"), plain)
    assert found.mean == (127.5,) * 3


@pytest.mark.parametrize(
    "keys,layout",
    [
        (["teacher.backbone.cls_token", "teacher.head.mlp.0.weight"], "DINO"),
        (["module.base_encoder.cls_token", "module.momentum_encoder.cls_token"], "MoCo v3"),
        (["student.backbone.cls_token", "teacher.backbone.cls_token"], "a student and a teacher"),
        (["cls_token", "mask_token", "decoder_pos_embed", "decoder_embed.weight"], "MAE"),
    ],
)
def test_the_method_is_found_whatever_the_format_and_the_ending(tmp_path, keys, layout):
    state = {key: torch.zeros(1) for key in keys}
    torch.save(state, tmp_path / "a.pth")
    safetensors.torch.save_file(state, tmp_path / "b.safetensors")
    shutil.copy(tmp_path / "b.safetensors", tmp_path / "c.bin")
    for name in ("a.pth", "b.safetensors", "c.bin"):
        found = model_preprocessing(timm_backbone("vit_base_patch16_224"), tmp_path / name)
        assert found.is_imagenet and found.source.endswith(layout), name


VIT = dict(type="mmpretrain.VisionTransformer", arch="b")
HF_KEY = "vit.encoder.layer.0.layernorm_before.weight"


def foreign(folder, key, ending):
    if ending == "bin":
        torch.save({key: torch.zeros(1)}, folder / "pytorch_model.bin")
        return folder / "pytorch_model.bin"
    safetensors.torch.save_file({key: torch.zeros(1)}, folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
@pytest.mark.parametrize(
    "beside,mean,std,channels",
    [
        (dict(image_mean=[0.5] * 3, image_std=[0.5] * 3), 127.5, 127.5, "rgb"),
        (
            dict(image_mean=[0.5] * 3, image_std=[0.5] * 3, rescale_factor=1 / 127.5),
            63.75,
            63.75,
            "rgb",
        ),
        (dict(image_mean=[9.0] * 3, image_std=[2.0] * 3, do_rescale=False), 9, 2, "rgb"),
        (dict(image_mean=[0] * 3, image_std=[1] * 3, do_flip_channel_order=True), 0, 255, "bgr"),
    ],
)
def test_models_of_hugging_face_with_their_own_description(
    tmp_path, ending, beside, mean, std, channels
):
    path = foreign(tmp_path, HF_KEY, ending)
    assert model_preprocessing(VIT, path) is None
    assert library_of_unknown(path) == "Hugging Face's ViT"
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(beside))
    found = model_preprocessing(VIT, path)
    assert found.mean == pytest.approx([mean] * 3) and found.std == pytest.approx([std] * 3)
    assert found.channels == channels and "preprocessor_config.json" in found.source
    assert library_of_unknown(path) == ""
    assert checkpoint_preprocessing(path, geometry=True) is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        "{}",
        '{"image_mean": "x", "image_std": [1]}',
        '{"do_normalize": false}',
        '{"image_mean": [1,1,1], "image_std": [1,1,1], "rescale_factor": 0}',
    ],
)
def test_descriptions_that_state_nothing(tmp_path, text):
    path = foreign(tmp_path, HF_KEY, "bin")
    (tmp_path / "preprocessor_config.json").write_text(text)
    assert model_preprocessing(VIT, path) is None


@pytest.mark.parametrize("ending", ["bin", "safetensors"])
def test_files_of_openclip(tmp_path, ending):
    path = foreign(tmp_path, "visual.conv1.weight", ending)
    found = model_preprocessing(VIT, path)
    assert found.mean == pytest.approx(CLIP_MEAN) and found.std == pytest.approx(CLIP_STD)
    assert "OpenCLIP" in found.source and found.geometry is None
    assert checkpoint_preprocessing(path, geometry=True) is None
    # SigLIP's networks are timm's, and normalise in another way.
    assert model_preprocessing(VIT, foreign(tmp_path, "visual.trunk.norm.weight", ending)) is None


@pytest.mark.parametrize(
    "content", [None, b"", b"<html>", [1, 2], {"meta": 3}, {"meta": {"cfg": 7}}]
)
def test_files_that_state_nothing(tmp_path, content):
    path = tmp_path / "c.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    assert checkpoint_preprocessing(path) is None
    assert checkpoint_preprocessing(tmp_path) is None


@pytest.mark.parametrize(
    "name,to", [("a.pth", "timm"), ("b.safetensors", "timm"), ("c.pth", "mmpretrain")]
)
def test_conversion_keeps_the_record(tmp_path, name, to):
    from mmpretrain.models import VisionTransformer

    from bam_mm.checkpoint.architectures import KEYMAPS  # noqa: F401

    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
    state = VisionTransformer(arch=arch, img_size=32, patch_size=16).state_dict()
    source = recorded(
        tmp_path, "source.pth", {f"backbone.{k}": v for k, v in state.items()},
        model=dict(backbone=dict(type="VisionTransformer")),
        data_preprocessor=dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True),
    )  # fmt: skip
    convert_checkpoint(source, tmp_path / name, to=to)
    found = checkpoint_preprocessing(tmp_path / name)
    assert found == checkpoint_preprocessing(source)
    other = shutil.copy(tmp_path / name, tmp_path / "named-in-another-way")
    assert checkpoint_preprocessing(other) == found
    content = (
        safetensors.torch.load_file(tmp_path / name)
        if name.endswith("safetensors")
        else torch.load(tmp_path / name, weights_only=True)
    )
    tensors = content.get("state_dict", content).values()
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors)


@pytest.mark.parametrize(
    "steps,wanted",
    [
        ([("ResizeEdge", dict(scale=256, edge="short"))], None),  # no crop: images of any shape
        (
            [("ResizeEdge", dict(scale=256)), ("CenterCrop", dict(crop_size=(224, 224)))],
            (224, 256, "bilinear"),
        ),
        ([("Resize", dict(scale=(384, 384), interpolation="bicubic"))], (384, 384, "bicubic")),
        ([("Resize", dict(scale=(384, 256)))], None),
        ([("Resize", dict(scale=(384, 384), keep_ratio=True))], None),
        ([("EfficientNetCenterCrop", dict(crop_size=224))], (224, 256, "bicubic")),
        ([("ResizeEdge", dict(scale=32)), ("CenterCrop", dict(crop_size=48))], None),  # padded
        ([], None),
    ],
)
def test_geometry_of_pipelines(steps, wanted):
    pipeline = [dict(type=f"mmpretrain.{kind}", **step) for kind, step in steps]
    found = read_geometry([dict(type="LoadImage"), *pipeline, dict(type="PackInputs")])
    assert (found and (found.size, found.short_side, found.interpolation)) == wanted


def test_setting_the_geometry_of_a_pipeline():
    load, pack = dict(type="bam_mm.LoadImage"), dict(type="PackInputs")
    old = [load, *Geometry(224, 0.875).steps(), pack]
    assert is_default(old) and not is_default([load, *Geometry(48, 48 / 54).steps(), pack])
    new = Geometry(299, 0.875, "bilinear")
    for pipeline in (old, [load, pack]):
        assert read_geometry(set_geometry(pipeline, new)).size == 299
        assert [s["type"] for s in set_geometry(pipeline, new)] == [
            "bam_mm.LoadImage", "ResizeEdge", "CenterCrop", "PackInputs"
        ]  # fmt: skip
    squashed = set_geometry(old, replace(new, squash=True))
    assert squashed[1] == dict(
        type="Resize", scale=(341, 341), interpolation="bilinear", backend="pillow"
    )


def test_facts_are_plain_and_read_back():
    found = timm_preprocessing(timm_backbone("inception_v4"))
    assert from_facts(json.loads(json.dumps(found.facts()))) == found
    assert settings_preprocessing({"model": {}}, "x", geometry=True) is None
