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

from bam_mm.checkpoint.file_preprocessing import checkpoint_preprocessing
from bam_mm.checkpoint.geometry import Geometry, read_geometry
from bam_mm.checkpoint.library_preprocessing import index_preprocessing
from bam_mm.checkpoint.preprocessing import IMAGENET, Preprocessing
from bam_mm.hooks import LoadBackboneHook
from bam_mm.launch.preprocessing import (
    described,
    explicit,
    preprocess_for_test,
    preprocess_for_training,
    settle,
)
from bam_mm.registry import MODELS
from tests.launch.preprocessed import (
    HALF,
    LARGE,
    LITE0,
    OTHER,
    OWN,
    TASKS,
    config_of,
    fresh,
    normalisation_of,
    pipelines_of,
)


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
def test_models_of_imagenet_change_no_config(name, found):
    config = fresh(name)
    before = copy.deepcopy(config.to_dict())
    used = settle(config, found).used
    assert config.to_dict() == before
    assert (used.is_imagenet and "none" in used.source) or found is IMAGENET


@pytest.mark.parametrize("name", TASKS)
def test_the_models_own_normalisation_reaches_every_task(name):
    config = fresh(name)
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


def test_size_of_the_model_in_tests_and_training():
    name = "cls/vit-base-p16_8xb128-linear-coslr-100e_in1k"
    config = fresh(name)
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
def test_precedence(setting, options, stated, whose, source, place):
    config = fresh("cls/vit-base-p16_knn_in1k")
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


def test_a_complete_model_keeps_the_preprocessing_of_its_training():
    config = fresh("cls/vit-base-p16_8xb128-linear-coslr-100e_in1k")
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


def test_an_edited_config_of_a_complete_model_is_overridden_with_a_warning():
    trained = replace(LARGE, mean=IMAGENET.mean, std=IMAGENET.std)
    config = fresh("cls/vit-base-p16_8xb128-linear-coslr-100e_in1k")
    assert settle(copy.deepcopy(config), trained, trained=True).warnings == []  # the default
    config.test_dataloader.dataset.pipeline = Geometry(384, 1.0).steps()
    config.data_preprocessor.update(OTHER)
    normalisation, size = settle(config, trained, trained=True).warnings
    assert "the config sets mean (1, 2, 3), std (4, 5, 6), RGB, but the checkpoint" in normalisation
    assert "set preprocessing.normalisation=config" in normalisation
    assert "centre crop 384 px" in size and "trained with short side 341 px" in size
    assert "set preprocessing.geometry=config" in size
    assert settle(config, trained, trained=True).warnings == []


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


def test_networks_that_take_bgr():
    bgr = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "x", "bgr")
    for name, key in (("cls/vit-base-p16_knn_in1k", "to_rgb"), (TASKS[7], "bgr_to_rgb")):
        config = fresh(name)
        settle(config, bgr)
        assert config.model.data_preprocessor[key] is False
        assert settle(config, bgr).used.channels == "bgr"
    config = fresh("vos/vit-base-p16_label-propagation_davis2017")
    settle(config, bgr)
    assert config.model.to_rgb is False and config.model.mean == (1 / 255, 2 / 255, 3 / 255)
    assert settle(config, OWN).used.channels == "bgr"  # taken as meant
    config.preprocessing = "model"
    assert settle(config, OWN).used.channels == "rgb" and config.model.to_rgb is True


def test_training_starts_and_resumes_with_the_preprocessing_of_the_backbone(tmp_path):
    name = "cls/vit-base-p16_8xb128-linear-coslr-100e_in1k"
    config = fresh(name)
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
    other = fresh(name)
    assert preprocess_for_test(other, str(path)).used.source.endswith(str(path))
    assert normalisation_of(other) == (HALF, HALF)
    resumed = fresh(name)
    resumed.load_from, resumed.resume = str(path), True
    preprocess_for_training(resumed)
    assert normalisation_of(resumed) == (HALF, HALF)
    pretraining = config_of("pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy")
    assert preprocess_for_training(pretraining) is None


def test_a_checkpoint_of_init_cfg_decides_as_that_of_the_hook(tmp_path):
    name = "cls/vit-base-p16_8xb128-linear-coslr-100e_in1k"
    norm = dict(mean=list(HALF), std=list(HALF), to_rgb=True)
    model = dict(type="bam_mm.BAM", backbone=dict(type="MoCoV3ViT"), data_preprocessor=norm)
    path = tmp_path / "bam.pth"
    torch.save({"state_dict": {}, "meta": {"cfg": f"model = {model!r}\n"}}, path)
    initialiser = dict(type="bam_mm.PretrainedBackbone", checkpoint=str(path))
    for place in ("backbone", "model"):
        config = fresh(name)
        part = config.model.backbone if place == "backbone" else config.model
        part.init_cfg = [initialiser] if place == "model" else initialiser
        preprocess_for_training(config)
        assert normalisation_of(config) == (HALF, HALF)


def test_what_a_suite_hands_on_is_kept_by_the_run():
    config = fresh("cls/vit-base-p16_knn_in1k")
    decision = settle(config, LARGE)
    config.preprocessing = explicit(decision.used)
    again = settle(config, None).used
    assert again == decision.used
    assert described(decision)[0].startswith("normalisation: mean (127.5, 127.5, 127.5)")
    assert described(settle(fresh(TASKS[0]), None)) == []


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


RECORDED = (
    "model = dict(type='BAM', backbone=dict(), data_preprocessor=dict(mean=[10, 20, 30], "
    "std=[2, 4, 8], to_rgb=True))"
)


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
def test_pixels_that_a_model_sees(tmp_path, monkeypatch, source, wanted):
    for module in ("frozen_features.build_token_backbone", "label_propagation.build_map_backbone"):
        monkeypatch.setattr(f"bam_mm.models.{module}", lambda *_: torch.nn.Identity())
    found = None
    if source == "recorded":
        torch.save({"state_dict": {}, "meta": {"cfg": RECORDED}}, tmp_path / "bam.pth")
        found = checkpoint_preprocessing(tmp_path / "bam.pth")
    elif source != "none":
        found = index_preprocessing(source)
    config = fresh("cls/vit-base-p16_knn_in1k")
    settle(config, found)
    preprocess = MODELS.build(config.model).data_preprocessor
    seen = preprocess({"inputs": PIXEL, "data_samples": None})["inputs"]
    assert seen[0, :, 0, 0].tolist() == pytest.approx(wanted, abs=1e-5)
    config = fresh("seg/vit-base-p16_upernet_8xb2-amp-160k_ade20k-512x512")
    settle(config, found)
    preprocess = MODELS.build(
        {**config.model.data_preprocessor, "type": "mmseg.SegDataPreProcessor"}
    )
    seen = preprocess({"inputs": [PIXEL[0]], "data_samples": None})["inputs"]
    assert seen[0, :, 0, 0].tolist() == pytest.approx(wanted, abs=1e-5)
    config = fresh("vos/vit-base-p16_label-propagation_davis2017")
    settle(config, found)
    model, images = MODELS.build(config.model), []
    monkeypatch.setattr(
        "bam_mm.models.label_propagation.feature_map", lambda _, x, __: images.append(x) or x
    )
    monkeypatch.setattr("bam_mm.models.label_propagation.pixels_per_patch", lambda *_: 1)
    model._extract(PIXEL)
    assert images[0][0, :, 0, 0].tolist() == pytest.approx(wanted, abs=1e-5)


def test_a_file_of_hugging_face_that_states_nothing_is_named_in_a_warning(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"encoder.layer.0.layernorm_before.weight": torch.zeros(1)}, path)
    config = fresh("cls/vit-base-p16_knn_in1k")
    (warning,) = preprocess_for_test(config, str(path)).warnings
    assert "Hugging Face's ViT" in warning and "put the model's preprocessor_config.json" in warning
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3})
    )
    assert preprocess_for_test(config, str(path)).warnings == []
    assert normalisation_of(config) == (HALF, HALF)
