"""Which preprocessing a run uses, and where it says so."""

import copy
import json
from argparse import Namespace
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import timm
import torch

from bam_mm import InputError
from bam_mm.checkpoint.geometry import Geometry, read_geometry
from bam_mm.checkpoint.preprocessing import (
    IMAGENET,
    Preprocessing,
    checkpoint_preprocessing,
    index_preprocessing,
    timm_preprocessing,
)
from bam_mm.hooks import LoadBackboneHook
from bam_mm.launch.config import load_config, plain
from bam_mm.launch.preprocessing import (
    described,
    explicit,
    preprocess_for_test,
    preprocess_for_training,
    settle,
)
from bam_mm.registry import CONFIGS, MODELS

HALF = [127.5] * 3
LITE0 = dict(type="mmpretrain.TIMMBackbone", model_name="tf_efficientnet_lite0")
OTHER = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])
OWN = timm_preprocessing(LITE0)
LARGE = Preprocessing((127.5,) * 3, (127.5,) * 3, "x", "rgb", Geometry(299, 0.875), "x")


def config_of(name, backbone=None, options=None):
    config = load_config(CONFIGS / f"{name}.py", options)
    if backbone is not None:
        config.model.backbone = backbone
    return config


def normalisation_of(config):
    place = config.model.get("data_preprocessor") or config.get("data_preprocessor")
    return place and (plain(place.mean), plain(place.std))


def pipelines_of(config):
    loop = config.get("test_cfg") or {}
    loaders = [config.test_dataloader, *(loop[k] for k in ("bank", "train", "val") if k in loop)]
    return [loader.dataset.pipeline for loader in loaders]


# Every task, and where it keeps the mean.
TASKS = [
    "cls/vit-base-p16_knn_in1k",
    "cls/vit-base-p16_logreg_cars",
    "cls/vit-base-p16_cluster_in1k",
    "cls/vit-base-p16_8xb128-linear-coslr-100e_in1k",
    "cls/vit-base-p16_8xb128-amp-coslr-150e_in1k",
    "cls/vit-base-p16_8xb64-amp-coslr-100e_in1k-1percent",
    "cls/vit-base-p16_8xb16-amp-coslr-100e_pets",
    "det/vit-base-p16_cascade-mask-rcnn_8xb2-amp-12e_coco",
    "seg/vit-base-p16_upernet_8xb2-amp-160k_ade20k-512x512",
    "vos/vit-base-p16_label-propagation_davis2017",
    "cls/vit-toy-p8_knn_toy",
]


@pytest.fixture(scope="module")
def configs():
    return {name: load_config(CONFIGS / f"{name}.py") for name in TASKS}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(20):
        path = out / ("train", "val")[number % 2] / f"class{number % 5}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), generator.integers(0, 256, (64, 64, 3), np.uint8))
    return out


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("found", [None, IMAGENET])
def test_models_of_imagenet_change_no_config(name, found, configs):
    config = copy.deepcopy(configs[name])
    before = copy.deepcopy(config.to_dict())
    used = settle(config, found).used
    assert config.to_dict() == before
    assert (used.is_imagenet and "none" in used.source) or found is IMAGENET


@pytest.mark.parametrize("name", TASKS)
def test_the_models_own_normalisation_reaches_every_task(name, configs):
    config = copy.deepcopy(configs[name])
    used = settle(config, OWN).used
    assert list(used.mean) == HALF and "pretrained_cfg of tf_efficientnet_lite0" in used.source
    if name.startswith("vos"):
        assert config.model.mean == config.model.std == (0.5, 0.5, 0.5)
        assert used.geometry is None and "the protocol" in used.geometry_source
        return
    assert normalisation_of(config) == (HALF, HALF)
    if name.startswith(("det", "seg")):
        assert config.model.data_preprocessor.bgr_to_rgb
        assert used.geometry is None and "the protocol" in used.geometry_source
    elif "toy" in name:  # 48 px: the size that the images of the toy world have
        assert [read_geometry(p).short_side for p in pipelines_of(config)] == [54, 54]
        assert "the config (the model's own: short side 256 px" in used.geometry_source
    else:
        assert all(read_geometry(p) == OWN.geometry for p in pipelines_of(config))


def test_size_of_the_model_in_tests_and_training(configs):
    name = "cls/vit-base-p16_8xb128-linear-coslr-100e_in1k"
    config = copy.deepcopy(configs[name])
    used = settle(config, LARGE).used
    assert used.geometry == LARGE.geometry
    for loader in (config.test_dataloader, config.val_dataloader):
        assert [s.type.rpartition(".")[2] for s in loader.dataset.pipeline] == [
            "LoadImage", "ResizeEdge", "CenterCrop", "PackInputs"
        ]  # fmt: skip
        assert loader.dataset.pipeline[1].scale == 341
    crop = config.train_dataloader.dataset.pipeline[1]
    assert crop.type == "RandomResizedCrop" and crop.scale == 299


def test_colours_that_augmentations_fill_with():
    config = config_of("cls/vit-base-p16_8xb128-amp-coslr-150e_in1k")
    bgr = Preprocessing((10.0, 20.6, 30.0), (1.0, 2.0, 3.0), "x")
    settle(config, bgr)
    steps = {step["type"]: step for step in config.train_dataloader.dataset.pipeline}
    assert steps["RandomErasing"].fill_color == [30.0, 20.6, 10.0]
    assert steps["RandomErasing"].fill_std == [3.0, 2.0, 1.0]
    assert steps["RandAugment"].hparams.pad_val == [30, 21, 10]


# Setting, options of the command line, mean of the config -> whose mean is used, part of the source
PRECEDENCE = [
    (None, [], None, "model", "timm's"),
    (None, [], OTHER, "config", "the config"),
    ("auto", [], OTHER, "config", "the config"),
    ("model", [], OTHER, "model", "timm's"),
    ("config", [], OTHER, "config", "preprocessing.normalisation=config"),
    ("config", [], None, "imagenet", "preprocessing.normalisation=config"),
    (dict(normalisation="config"), [], None, "imagenet", "preprocessing.normalisation=config"),
    ("model", ["model.data_preprocessor.mean"], OTHER, "config", "option model.data_preproc"),
    (None, ["data_preprocessor.std"], None, "imagenet", "option data_preprocessor.std"),
    (dict(mean=[7, 8, 9], std=[1, 1, 1]), [], OTHER, "set", "the setting preprocessing"),
    (dict(mean=[7, 8, 9], std=[1, 1, 1]), ["data_preprocessor.std"], OTHER, "set", "setting"),
    (None, ["test_cfg.k", "model.branch"], None, "model", "timm's"),
]


@pytest.mark.parametrize("setting,options,stated,whose,source", PRECEDENCE)
@pytest.mark.parametrize("place", ["model", "top"])
def test_precedence(configs, setting, options, stated, whose, source, place):
    config = copy.deepcopy(configs["cls/vit-base-p16_knn_in1k"])
    config.model.backbone = LITE0
    config.preprocessing = setting
    if stated is not None:
        (config.model if place == "model" else config).data_preprocessor = dict(stated, to_rgb=True)
    decision = settle(config, OWN, options=options)
    means = {"model": HALF, "config": [1, 2, 3], "imagenet": IMAGENET.mean, "set": [7, 8, 9]}
    assert list(decision.used.mean) == list(means[whose]) and source in decision.used.source
    # What the run does, and not only what it says.
    assert normalisation_of(config)[0] == list(means[whose])
    ignored = setting in (None, "auto") and not options and stated is not None
    assert any("preprocessing.normalisation=model" in w for w in decision.warnings) == ignored


def test_a_complete_model_keeps_the_preprocessing_of_its_training(configs):
    config = copy.deepcopy(configs["cls/vit-base-p16_8xb128-linear-coslr-100e_in1k"])
    config.data_preprocessor.update(OTHER)
    used = settle(config, LARGE, trained=True).used
    assert normalisation_of(config) == (HALF, HALF) and used.geometry.size == 299
    config.test_dataloader.dataset.pipeline[2].crop_size = 96  # not what it was trained on
    assert settle(config, LARGE, trained=True).used.geometry.size == 299
    assert read_geometry(config.test_dataloader.dataset.pipeline).size == 299
    config.preprocessing = "config"
    config.data_preprocessor.update(OTHER)
    decision = settle(config, LARGE, trained=True)
    assert decision.used.mean == (1, 2, 3)
    assert "the checkpoint was trained with mean (127.5, 127.5, 127.5)" in decision.warnings[0]


def test_an_edited_config_of_a_complete_model_is_overridden_with_a_warning(configs):
    trained = replace(LARGE, mean=IMAGENET.mean, std=IMAGENET.std)
    config = copy.deepcopy(configs["cls/vit-base-p16_8xb128-linear-coslr-100e_in1k"])
    assert settle(copy.deepcopy(config), trained, trained=True).warnings == []  # the default
    config.test_dataloader.dataset.pipeline = Geometry(384, 1.0).steps()
    config.data_preprocessor.update(OTHER)
    normalisation, size = settle(config, trained, trained=True).warnings
    assert "the config sets mean (1, 2, 3), std (4, 5, 6), RGB, but the checkpoint" in normalisation
    assert "set preprocessing.normalisation=config" in normalisation
    assert "centre crop 384 px" in size and "trained with short side 341 px" in size
    assert "set preprocessing.geometry=config" in size
    assert settle(config, trained, trained=True).warnings == []


VARIABLES = """
size = 224
wide = (224, 224)
mean = [123.675, 116.28, 103.53]
level = 9
test_pipeline = [
    dict(type='LoadImageFromFile'), dict(type='ResizeEdge', scale=size, edge='short'),
    dict(type='CenterCrop', crop_size=size), dict(type='PackInputs'),
]
model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18))
data_preprocessor = dict(mean=mean, std=[58.395, 57.12, 57.375], to_rgb=True)
train_dataloader = dict(dataset=dict(pipeline=[dict(type='RandAugment', magnitude_level=level)]))
test_dataloader = dict(dataset=dict(type='CustomDataset', pipeline=test_pipeline))
"""


@pytest.mark.parametrize(
    "options,size,mean,source",
    [
        ({"size": 384}, 384, 127.5, "the config (option size)"),
        ({"test_pipeline.1.scale": 256}, 224, 127.5, "the config (option test_pipeline.1.scale)"),
        ({"mean": [1.0, 2.0, 3.0]}, 299, 1.0, "x"),
        ({"level": 5}, 299, 127.5, "x"),  # of the augmentations in training
        ({}, 299, 127.5, "x"),
    ],
)
def test_options_for_variables_are_kept(tmp_path, options, size, mean, source):
    (tmp_path / "c.py").write_text(VARIABLES)
    config = load_config(tmp_path / "c.py", options)
    used = settle(config, LARGE, options=options, trained=True).used
    assert (used.geometry.size, used.mean[0], used.geometry_source) == (size, mean, source)
    assert config.test_dataloader.dataset.pipeline[2].crop_size == size
    assert config.data_preprocessor.mean[0] == mean


def test_a_config_without_the_setting_takes_it_from_the_command_line(tmp_path):
    (tmp_path / "c.py").write_text(VARIABLES + "data_preprocessor['mean'] = [9.0] * 3")
    config = load_config(tmp_path / "c.py", {"preprocessing.normalisation": "model"})
    assert settle(config, OWN).used.mean == tuple(HALF)


FINE_TUNING = "cls/vit-base-p16_8xb128-linear-coslr-100e_in1k"
PRETRAINING = "pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy"


@pytest.mark.parametrize(
    "name,key,value,reason",
    [
        (PRETRAINING, "size", 96, "loads no backbone with bam_mm.LoadBackboneHook"),
        (PRETRAINING, "normalisation", "model", "loads no backbone with bam_mm.LoadBackboneHook"),
        ("own", "crop_fraction", 1.0, "loads no backbone with bam_mm.LoadBackboneHook"),
        (TASKS[7], "size", 384, "the task prescribes the size"),
        (TASKS[8], "interpolation", "bicubic", "the task prescribes the size"),
        (TASKS[9], "geometry", "model", "the task prescribes the size"),
    ],
)
def test_settings_that_nothing_uses(configs, name, key, value, reason):
    config = config_of(FINE_TUNING if name == "own" else name)
    if name == "own":  # a config that initialises its backbone itself
        config.custom_hooks = []
    config.preprocessing[key] = value
    with pytest.raises(InputError, match=rf"preprocessing\.{key}={value!r}: nothing .*{reason}"):
        if config.get("test_cfg") is None or "train_dataloader" in config:
            preprocess_for_training(config)
        preprocess_for_test(config, "random")
    config.preprocessing[key] = (
        "config" if isinstance(value, str) and key != "interpolation" else None
    )
    if name in (PRETRAINING, "own"):
        assert preprocess_for_training(config) is None


def with_steps(configs, name="cls/vit-base-p16_8xb128-linear-coslr-100e_in1k", **values):
    """Return a config that normalises in its pipelines, once with the default of ``to_rgb``."""
    config = copy.deepcopy(configs[name])
    values = {"mean": list(IMAGENET.mean), "std": list(IMAGENET.std), **values}
    config.data_preprocessor = dict(num_classes=10)
    step = dict(type="mmcv.Normalize", **values)
    config.test_dataloader.dataset.pipeline.insert(-1, dict(step))
    config.train_dataloader.dataset.pipeline.insert(-1, dict(step))
    return config


def seen_by(step):
    """Return what a Normalize step makes of a pixel of (R, G, B) = (10, 100, 200)."""
    from mmcv.transforms import Normalize

    step = {key: value for key, value in step.items() if key != "type"}
    image = np.full((1, 1, 3), [200, 100, 10], np.uint8)
    return Normalize(**step)({"img": image})["img"][0, 0].tolist()


@pytest.mark.parametrize(
    "setting,found,values,wanted",
    [
        # (10 - 127.5) / 127.5, (100 - 127.5) / 127.5, (200 - 127.5) / 127.5
        (dict(mean=HALF, std=HALF), None, {}, [-0.9215686, -0.2156863, 0.5686275]),
        (None, OWN, {}, [-0.9215686, -0.2156863, 0.5686275]),  # ImageNet's give way
        ("model", OWN, dict(mean=[1, 2, 3]), [-0.9215686, -0.2156863, 0.5686275]),
        # BGR, kept: (200 - 123.675) / 58.395, (100 - 116.28) / 57.12, (10 - 103.53) / 57.375
        (None, OWN, dict(to_rgb=False), [1.3070468, -0.2850140, -1.6301525]),
        (None, None, {}, [-1.9466564, -0.2850140, 1.6813943]),
        # BGR: (200 - 1) / 4, (100 - 2) / 5, (10 - 3) / 6
        ("model", "bgr", {}, [49.75, 19.6, 1.1666667]),
    ],
)
def test_pipelines_that_normalise(configs, setting, found, values, wanted):
    if found == "bgr":
        found = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "x", "bgr")
    config = with_steps(configs, **values)
    config.preprocessing = setting
    decision = settle(config, found)
    for loader in (config.test_dataloader, config.train_dataloader):
        step = loader.dataset.pipeline[-2]
        assert seen_by(step) == pytest.approx(wanted, abs=1e-5)
    assert list(decision.used.mean) == list(step["mean"])
    assert decision.used.channels == ("rgb" if step.get("to_rgb", True) else "bgr")
    assert "mean" not in config.data_preprocessor
    assert any("used instead of the model's own" in w for w in decision.warnings) == (
        values == dict(to_rgb=False)
    )


def test_images_that_are_normalised_twice(configs):
    config = with_steps(configs)
    config.data_preprocessor.update(OTHER)
    assert "normalise the images: remove one" in settle(copy.deepcopy(config), None).warnings[0]
    config.preprocessing = dict(mean=HALF, std=HALF)
    with pytest.raises(InputError, match=r"mean .127.5, 127.5, .*cannot be set; remove the st"):
        settle(config, None)


def test_options_for_steps_of_a_pipeline_are_kept(configs):
    config = copy.deepcopy(configs["cls/vit-base-p16_knn_in1k"])
    used = settle(config, LARGE, options=["test_dataloader.dataset.pipeline.1.scale"]).used
    assert used.geometry.size == 224 and "option test_dataloader" in used.geometry_source


@pytest.mark.parametrize(
    "setting,wanted,source",
    [
        (None, (299, 341), "x"),
        (dict(geometry="config"), (224, 256), "the config (preprocessing.geometry=config)"),
        (dict(size=96, crop_fraction=1.0), (96, 96), "the setting preprocessing"),
        (dict(size=96), (96, 109), "the setting preprocessing"),  # the model's crop fraction
        (dict(geometry="config", crop_fraction=1.0), (224, 224), "the setting preprocessing"),
    ],
)
def test_settings_of_the_size(configs, setting, wanted, source):
    config = copy.deepcopy(configs["cls/vit-base-p16_knn_in1k"])
    config.preprocessing = setting
    used = settle(config, LARGE).used
    assert (used.geometry.size, used.geometry.short_side) == wanted
    assert all(read_geometry(p) == used.geometry for p in pipelines_of(config))
    assert used.geometry_source == source


def test_cifar10_takes_other_networks_with_their_own_mean_and_its_own_size():
    config = config_of("cls/resnet18-w16_knn_cifar10")
    before = copy.deepcopy(config.to_dict())
    assert settle(config, None).used.mean == (125.307, 122.961, 113.8575)
    assert config.to_dict() == before
    used = settle(config, OWN).used
    assert list(used.mean) == HALF and used.geometry is None
    assert "the model's own" in used.geometry_source
    config.preprocessing.size = 96
    settle(config, OWN)
    assert [read_geometry(p).size for p in pipelines_of(config)] == [96, 96]


@pytest.mark.parametrize(
    "setting,message",
    [
        ("modle", r"preprocessing.normalisation='modle': choose one of auto, model, config"),
        (3, r"preprocessing=3: set one of auto, model, config, or a dict"),
        (dict(maen=[1, 2, 3]), r"preprocessing.maen: no such setting; use mean"),
        (dict(mean=[1, 2, 3]), r"preprocessing.mean=\[1, 2, 3\]: set mean and std together"),
        (dict(mean=[1, 2], std=[1, 1]), r"preprocessing.mean=\[1, 2\]: set mean and std tog"),
        (dict(mean=[1, 2, 3], std=[1, 0, 1]), r"preprocessing.std=\[1, 0, 1\]: set mean"),
        (dict(size=-1), r"preprocessing.size=-1: set the side of the crop in pixels"),
        (dict(size="224px"), r"preprocessing.size='224px': set the side"),
        (dict(crop_fraction=1.5), r"preprocessing.crop_fraction=1.5: .* at most 1"),
        (dict(channels="rgba"), r"preprocessing.channels='rgba': choose one of rgb, bgr"),
        (dict(channels="bgr"), r"channels=bgr: nothing uses it .*; set preprocessing.mean and"),
    ],
)
def test_wrong_settings(configs, setting, message):
    config = copy.deepcopy(configs["cls/vit-base-p16_knn_in1k"])
    config.preprocessing = setting
    with pytest.raises(InputError, match=message):
        settle(config, OWN)


def test_networks_that_take_bgr(configs):
    bgr = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "x", "bgr")
    for name, key in (("cls/vit-base-p16_knn_in1k", "to_rgb"), (TASKS[7], "bgr_to_rgb")):
        config = copy.deepcopy(configs[name])
        settle(config, bgr)
        assert config.model.data_preprocessor[key] is False
        assert settle(config, bgr).used.channels == "bgr"
    config = copy.deepcopy(configs["vos/vit-base-p16_label-propagation_davis2017"])
    settle(config, bgr)
    assert config.model.to_rgb is False and config.model.mean == (1 / 255, 2 / 255, 3 / 255)
    assert settle(config, OWN).used.channels == "bgr"  # taken as meant
    config.preprocessing = "model"
    assert settle(config, OWN).used.channels == "rgb" and config.model.to_rgb is True


def test_training_starts_and_resumes_with_the_preprocessing_of_the_backbone(tmp_path, configs):
    name = "cls/vit-base-p16_8xb128-linear-coslr-100e_in1k"
    config = copy.deepcopy(configs[name])
    config.model.backbone = LITE0
    decision = preprocess_for_training(config)
    assert normalisation_of(config) == (HALF, HALF)
    hook = LoadBackboneHook("w.pth")
    decision.hand_to(SimpleNamespace(hooks=[hook]))
    assert hook.preprocessing == decision.used.facts()
    # The checkpoint of that run decides when it is tested or resumed, whatever the config says.
    path = tmp_path / "epoch_1.pth"
    text = "".join(f"{key} = {value!r}\n" for key, value in config.to_dict().items())
    torch.save({"state_dict": {}, "meta": {"cfg": text}}, path)
    other = copy.deepcopy(configs[name])
    assert preprocess_for_test(other, str(path)).used.source.endswith(str(path))
    assert normalisation_of(other) == (HALF, HALF)
    resumed = copy.deepcopy(configs[name])
    resumed.load_from, resumed.resume = str(path), True
    preprocess_for_training(resumed)
    assert normalisation_of(resumed) == (HALF, HALF)
    pretraining = config_of("pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy")
    assert preprocess_for_training(pretraining) is None


def test_what_a_suite_hands_on_is_kept_by_the_run(configs):
    config = copy.deepcopy(configs["cls/vit-base-p16_knn_in1k"])
    decision = settle(config, LARGE)
    config.preprocessing = explicit(decision.used)
    again = settle(config, None).used
    assert again == decision.used
    assert described(decision)[0].startswith("normalisation: mean (127.5, 127.5, 127.5)")
    assert described(settle(copy.deepcopy(configs[TASKS[0]]), None)) == []


def test_the_log_and_the_proof_of_a_run(tmp_path, images):
    from bam_mm.launch.testing import test as run_test

    name, size = "test_vit", dict(img_size=48)
    options = {"data_root": str(images), "cache_dir": None, "test_cfg.k": [1]}
    config = config_of("cls/vit-toy-p8_knn_toy", options=options)
    config.model.backbone = dict(type="mmpretrain.TIMMBackbone", model_name=name, **size)
    for loader in (config.test_dataloader, config.test_cfg.bank):
        loader.update(num_workers=0, batch_size=16)
    torch.save(timm.create_model(name, **size).state_dict(), tmp_path / "w.pth")
    args = Namespace(
        config="knn.py", checkpoint=str(tmp_path / "w.pth"), work_dir=str(tmp_path / "run"),
        launcher="none", out=None, cfg_options=options,
    )  # fmt: skip
    run_test(config, args)
    proof = json.loads((tmp_path / "run" / "loaded_backbone.json").read_text())
    facts = json.loads((tmp_path / "run" / "test_facts.json").read_text())
    assert proof["preprocessing"] == facts["preprocessing"]
    assert proof["preprocessing"]["mean"] == HALF and proof["preprocessing"]["size"] == 48
    assert proof["preprocessing"]["source"] == "timm's pretrained_cfg of test_vit.r160_in1k"
    log = next((tmp_path / "run").glob("*/*.log")).read_text()
    lines = [line for line in log.splitlines() if "INFO - preprocessing:" in line]
    assert len(lines) == 1 and "mean (127.5, 127.5, 127.5)" in lines[0]
    assert "short side 54 px (bicubic), centre crop 48 px" in lines[0]


# A pixel of (R, G, B) = (10, 100, 200), as images are read: BGR.
PIXEL = torch.tensor([200, 100, 10], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
RECORDED = "model = dict(type='BAM', backbone=dict(), data_preprocessor=dict(mean=[10, 20, 30], "
RECORDED += "std=[2, 4, 8], to_rgb=True))"


@pytest.mark.parametrize(
    "source,wanted",
    [
        # (10 - 127.5) / 127.5, (100 - 127.5) / 127.5, (200 - 127.5) / 127.5
        ("beit-base-p16_beit-in21k-pre_3rdparty_in1k", [-0.9215686, -0.2156863, 0.5686275]),
        # BGR: (200 - 103.53) / 57.375, (100 - 116.28) / 57.12, (10 - 123.675) / 58.395
        ("regnetx-400mf_8xb128_in1k", [1.6813943, -0.2850140, -1.9466564]),
        # (10 - 10) / 2, (100 - 20) / 4, (200 - 30) / 8
        ("recorded", [0.0, 20.0, 21.25]),
        ("none", [-1.9466564, -0.2850140, 1.6813943]),
    ],
)
def test_pixels_that_a_model_sees(tmp_path, configs, monkeypatch, source, wanted):
    for module in ("frozen_features.build_token_backbone", "label_propagation.build_map_backbone"):
        monkeypatch.setattr(f"bam_mm.models.{module}", lambda *_: torch.nn.Identity())
    found = None
    if source == "recorded":
        torch.save({"state_dict": {}, "meta": {"cfg": RECORDED}}, tmp_path / "bam.pth")
        found = checkpoint_preprocessing(tmp_path / "bam.pth")
    elif source != "none":
        found = index_preprocessing(source)
    config = copy.deepcopy(configs["cls/vit-base-p16_knn_in1k"])
    settle(config, found)
    preprocess = MODELS.build(config.model).data_preprocessor
    seen = preprocess({"inputs": PIXEL, "data_samples": None})["inputs"]
    assert seen[0, :, 0, 0].tolist() == pytest.approx(wanted, abs=1e-5)
    config = copy.deepcopy(configs["seg/vit-base-p16_upernet_8xb2-amp-160k_ade20k-512x512"])
    settle(config, found)
    preprocess = MODELS.build(
        {**config.model.data_preprocessor, "type": "mmseg.SegDataPreProcessor"}
    )
    seen = preprocess({"inputs": [PIXEL[0]], "data_samples": None})["inputs"]
    assert seen[0, :, 0, 0].tolist() == pytest.approx(wanted, abs=1e-5)
    config = copy.deepcopy(configs["vos/vit-base-p16_label-propagation_davis2017"])
    settle(config, found)
    model, images = MODELS.build(config.model), []
    monkeypatch.setattr(
        "bam_mm.models.label_propagation.feature_map", lambda _, x, __: images.append(x) or x
    )
    monkeypatch.setattr("bam_mm.models.label_propagation.pixels_per_patch", lambda *_: 1)
    model._extract(PIXEL)
    assert images[0][0, :, 0, 0].tolist() == pytest.approx(wanted, abs=1e-5)


def test_a_file_of_hugging_face_that_states_nothing_is_named_in_a_warning(tmp_path, configs):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"encoder.layer.0.layernorm_before.weight": torch.zeros(1)}, path)
    config = copy.deepcopy(configs["cls/vit-base-p16_knn_in1k"])
    (warning,) = preprocess_for_test(config, str(path)).warnings
    assert "Hugging Face's ViT" in warning and "put the model's preprocessor_config.json" in warning
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    assert preprocess_for_test(config, str(path)).warnings == []
    assert normalisation_of(config) == (HALF, HALF)
