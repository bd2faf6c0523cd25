"""The setting preprocessing, options and pipelines of a config, and their messages."""

import copy

import numpy as np
import pytest

from bam_mm import InputError
from bam_mm.checkpoint.geometry import read_geometry
from bam_mm.checkpoint.preprocessing import IMAGENET, Preprocessing
from bam_mm.launch.config import load_config
from bam_mm.launch.preprocessing import (
    preprocess_for_test,
    preprocess_for_training,
    settle,
)
from tests.launch.preprocessed import (
    HALF,
    LARGE,
    OTHER,
    OWN,
    TASKS,
    config_of,
    fresh,
    pipelines_of,
)

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
def test_settings_that_nothing_uses(name, key, value, reason):
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


def with_steps(name="cls/vit-base-p16_8xb128-linear-coslr-100e_in1k", **values):
    """Return a config that normalises in its pipelines, once with the default of ``to_rgb``."""
    config = fresh(name)
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
def test_pipelines_that_normalise(setting, found, values, wanted):
    if found == "bgr":
        found = Preprocessing((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), "x", "bgr")
    config = with_steps(**values)
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


def test_images_that_are_normalised_twice():
    config = with_steps()
    config.data_preprocessor.update(OTHER)
    assert "normalise the images: remove one" in settle(copy.deepcopy(config), None).warnings[0]
    config.preprocessing = dict(mean=HALF, std=HALF)
    with pytest.raises(InputError, match=r"mean .127.5, 127.5, .*cannot be set; remove the st"):
        settle(config, None)


def test_options_for_steps_of_a_pipeline_are_kept():
    config = fresh("cls/vit-base-p16_knn_in1k")
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
def test_settings_of_the_size(setting, wanted, source):
    config = fresh("cls/vit-base-p16_knn_in1k")
    config.preprocessing = setting
    used = settle(config, LARGE).used
    assert (used.geometry.size, used.geometry.short_side) == wanted
    assert all(read_geometry(p) == used.geometry for p in pipelines_of(config))
    assert used.geometry_source == source


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
        (dict(interpolation="cubic"), r"interpolation='cubic': choose one of nearest, bilinear, b"),
        (dict(crop_fraction=1.5), r"preprocessing.crop_fraction=1.5: .* at most 1"),
        (dict(channels="rgba"), r"preprocessing.channels='rgba': choose one of rgb, bgr"),
        (dict(channels="bgr"), r"channels=bgr: nothing uses it .*; set preprocessing.mean and"),
    ],
)
def test_wrong_settings(setting, message):
    config = fresh("cls/vit-base-p16_knn_in1k")
    config.preprocessing = setting
    with pytest.raises(InputError, match=message):
        settle(config, OWN)
