"""Configs of the feature protocols: they can be built and have the protocols' settings."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm.launch.config import load_config
from bam_mm.registry import LOOPS, MODELS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs/cls"
CONFIGS = sorted(p for t in ("knn", "logreg", "cluster") for p in FOLDER.glob(f"*_{t}_*.py"))
LOOP = dict(knn="KNNTestLoop", logreg="LogisticRegressionLoop", cluster="ClusteringLoop")
TRANSFER = dict(
    food101="top1", cifar10="top1", cifar100="top1", cars="top1",
    aircraft="mean_per_class", pets="mean_per_class", flowers="mean_per_class",
)  # fmt: skip


def test_there_are_configs():
    names = {p.stem for p in CONFIGS}
    assert {f"{b}_logreg_{d}" for b in ("vit-base-p16", "resnet50") for d in TRANSFER} <= names
    assert {f"vit-toy-p8_{t}_toy" for t in LOOP} <= names
    assert {f"{b}_{t}_cifar10" for b in ("resnet18-w16", "vit-toy-p4") for t in LOOP} <= names
    assert {f"vit-base-p16_{t}_in1k" for t in ("knn", "cluster")} <= names


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_names_match_the_settings(path):
    backbone, protocol, _ = path.stem.split("_")
    config = load_config(path, {"cache_dir": "elsewhere", "data_root": "there"})
    loop = LOOPS.get(config.test_cfg.type)
    assert loop.__name__ == LOOP[protocol] and config.test_cfg.cache_dir == "elsewhere"
    loaders = [config.test_dataloader, *(config.test_cfg.get(n) for n in ("bank", "train", "val"))]
    for loader in filter(None, loaders):
        assert loader.dataset.data_root == "there"
        assert loader.dataset.pipeline == config.test_dataloader.dataset.pipeline
    assert config.model.feature == ("cls" if backbone.startswith("vit") else "mean")
    if "toy" not in backbone and "w16" not in backbone:
        crops = [s for s in config.test_dataloader.dataset.pipeline if s.type == "CenterCrop"]
        assert [c.crop_size for c in crops] == [224]
    if protocol == "knn":
        assert list(config.test_cfg.k) == [10, 20, 100, 200]
        assert config.test_cfg.temperature == 0.07
    if protocol == "cluster":
        assert (config.test_cfg.draws, config.test_cfg.n_init) == (10, 10)


@pytest.mark.parametrize("data", TRANSFER)
@pytest.mark.parametrize("backbone", ["vit-base-p16", "resnet50"])
def test_transfer_settings(backbone, data):
    config = load_config(FOLDER / f"{backbone}_logreg_{data}.py")
    assert config.test_cfg.metric == TRANSFER[data]
    parts = (config.test_cfg.train, config.test_cfg.val, config.test_dataloader)
    assert [p.dataset.split for p in parts] == ["train", "val", "test"]
    assert {p.dataset.name for p in parts} == {data}
    assert len({p.dataset.data_root for p in parts}) == 1
    # The protocol: short side 224 bicubic, centre crop 224, the 45 penalties, unscaled features.
    resize, crop = parts[0].dataset.pipeline[1:3]
    assert (resize.scale, resize.edge, resize.interpolation) == (224, "short", "bicubic")
    assert crop.crop_size == 224
    assert "penalties" not in config.test_cfg and "scaling" not in config.test_cfg


@pytest.mark.parametrize(
    ("stem", "size", "width"),
    [
        ("vit-toy-p8_knn_toy", 48, 96),
        ("resnet18-w16_knn_cifar10", 32, 128),
        ("vit-toy-p4_knn_cifar10", 32, 96),
        ("vit-small-p16_knn_in1k", 224, 384),
        ("resnet50_cluster_in1k", 64, 2048),
        ("caformer-m36_knn_in1k", 64, 576),
    ],
)
def test_models_can_be_built_and_return_features(stem, size, width):
    init_default_scope("mmpretrain")
    model = MODELS.build(load_config(FOLDER / f"{stem}.py").model)
    assert model(torch.randn(1, 3, size, size)).shape == (1, width)
