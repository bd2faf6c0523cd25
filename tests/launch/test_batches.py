"""Batches of evaluations that follow from the size of the images and the free memory."""

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from bam_mm import FrozenFeatures, ImageFolder
from bam_mm.launch import batches
from bam_mm.launch.batches import batch_that_fits, explicit_batches, fit_batches, free_memory
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import find_config
from bam_mm.launch.preprocessing import settle
from bam_mm.models.feature_extraction import EVALUATION_SAMPLER, extract_features

KNN = find_config("cls/resnet18-w16_knn_cifar10")
GIB = 2**30


@pytest.fixture
def images(tmp_path):
    for name in ("train/a/0.png", "train/b/0.png", "test/a/0.png", "test/b/0.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / name)
    return tmp_path


def fitted(monkeypatch, images, options, memory=4 * GIB, name=KNN, only=None):
    monkeypatch.setattr(batches, "free_memory", lambda: memory)
    options = {"data_root": str(images), **options}
    config = load_config(name, options)
    kept = explicit_batches(config, options)
    settle(config, None, options=options)
    lines = fit_batches(config, kept=kept, only=only)
    return config, lines


def test_the_batch_is_the_largest_half_that_needs_a_quarter_of_the_memory():
    # 224 px: 40 * 3 * 224^2 * 4 B = 24,084,480 B an image; a quarter of 4 GiB holds 44.6 of them.
    assert batch_that_fits(500, (224, 224), 4 * GIB) == 31
    assert batch_that_fits(256, (224, 224), 4 * GIB) == 32
    # 32 px: 491,520 B, so that a quarter of a GiB holds 546.
    assert batch_that_fits(500, (32, 32), GIB) == 500
    assert batch_that_fits(500, (32, 32), GIB // 2) == 250
    assert batch_that_fits(500, (224, 224), 80 * GIB) == 500
    assert batch_that_fits(500, (9000, 9000), GIB) == 1


def test_images_of_224_px_get_a_smaller_batch_than_those_of_32(images, monkeypatch):
    config, lines = fitted(monkeypatch, images, {})
    assert (config.test_dataloader.batch_size, config.test_cfg.bank.batch_size) == (500, 500)
    assert lines == []
    size = {"preprocessing.size": 224, "preprocessing.crop_fraction": 1.0}
    config, lines = fitted(monkeypatch, images, size)
    assert (config.test_dataloader.batch_size, config.test_cfg.bank.batch_size) == (31, 31)
    assert len(lines) == 2 and lines[0].startswith("test_dataloader.batch_size: 31 instead of 500,")
    assert "224 x 224 px" in lines[0] and "4.0 GiB" in lines[0]
    # Without a size in the pipeline, the images decide.
    for path in images.glob("t*/*/0.png"):
        Image.fromarray(np.zeros((224, 224, 3), np.uint8)).save(path)
    assert fitted(monkeypatch, images, {})[0].test_dataloader.batch_size == 31
    assert fitted(monkeypatch, images, {}, memory=None)[0].test_dataloader.batch_size == 500


@pytest.mark.parametrize(
    "option, sizes",
    [
        ({"test_dataloader.batch_size": 400}, (400, 31)),
        ({"test_cfg.bank.batch_size": 400}, (31, 400)),
        ({"train_images.batch_size": 500}, (31, 500)),  # A variable that the bank copies.
    ],
)
def test_a_batch_that_the_user_sets_stays(option, sizes, images, monkeypatch):
    size = {"preprocessing.size": 224, "preprocessing.crop_fraction": 1.0}
    config, _ = fitted(monkeypatch, images, {**size, **option})
    assert (config.test_dataloader.batch_size, config.test_cfg.bank.batch_size) == sizes
    name = "test_dataloader" if "test_dataloader.batch_size" in option else "test_cfg.bank"
    assert [*explicit_batches(load_config(KNN, option), option)] == [f"{name}.batch_size"]


def test_training_keeps_its_batch_and_only_its_validation_changes(images, monkeypatch):
    name = find_config("cls/resnet18-w16_1xb128-linear-coslr-4e_cifar10")
    size = {"preprocessing.size": 224, "preprocessing.crop_fraction": 1.0}
    config, lines = fitted(monkeypatch, images, size, name=name, only=("val_dataloader",))
    assert len(lines) == 1 and config.val_dataloader.batch_size == 31
    assert config.train_dataloader.batch_size == 128
    det = load_config(find_config("det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy"))
    assert fit_batches(det) == []


def test_free_memory_is_what_the_machine_and_its_containers_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(batches.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(batches, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(batches, "CONTROL_GROUPS", tmp_path)
    for name in ("LOCAL_WORLD_SIZE", batches.RUNS):
        monkeypatch.delenv(name, raising=False)
    assert free_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4096 kB\n")
    assert free_memory() == 4096 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 500000\n")
    assert free_memory() == 1_000_000  # Cached files give way.
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv(batches.RUNS, "4")
    assert free_memory() == 125_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() == 4096 * 1024 // 8


@pytest.mark.parametrize(
    "backbone, feature",
    [
        (dict(type="mmpretrain.ResNet_CIFAR", depth=18, stem_channels=8, base_channels=8), "mean"),
        (dict(type="mmpretrain.VisionTransformer", img_size=32, patch_size=8, arch=dict(
            embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)), "cls"),
    ],
)  # fmt: skip
def test_features_do_not_depend_on_the_batch(backbone, feature, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (13, 32, 32, 3), np.uint8)
    for number, image in enumerate(noise):
        path = tmp_path / f"val/{number % 2}/{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    model = FrozenFeatures(backbone, feature=feature)
    steps = [dict(type="bam_mm.LoadImage"), dict(type="PackInputs", meta_keys=("sample_idx",))]
    found = []
    for batch in (13, 5, 1):
        loader = dict(
            batch_size=batch, num_workers=0, sampler=dict(EVALUATION_SAMPLER),
            collate_fn=dict(type="default_collate"),
            dataset=ImageFolder(str(tmp_path), split="val", pipeline=steps),
        )  # fmt: skip
        loader = Runner.build_dataloader(loader)
        preprocess = model.data_preprocessor
        found.append(extract_features(model, preprocess, loader, description="", gather=True))
    for features, labels in found[1:]:
        assert torch.equal(labels, found[0][1])
        torch.testing.assert_close(features, found[0][0], rtol=1e-5, atol=1e-6)
    assert found[0][0].std(dim=0).min() > 1e-4  # The images have different features.
