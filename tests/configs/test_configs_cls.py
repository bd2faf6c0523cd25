"""Configs in configs/cls: the protocols' settings, and full sizes of the backbones."""

import re
from pathlib import Path

import pytest
import torch

from bam_mm.launch.config import load_config

ROOT = Path(__file__).resolve().parents[2]
# Without the feature protocols (kNN, logistic regression, clustering), which train nothing.
CONFIGS = sorted(
    p for p in (ROOT / "configs/cls").glob("*.py") if not re.search("_(knn|logreg|cluster)", p.stem)
)


def settings(stem, options=None):
    return load_config(ROOT / f"configs/cls/{stem}.py", options or {})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_names_match_the_settings(path):
    config = load_config(path)
    gpus, batch = (int(x) for x in re.search(r"_(\d+)xb(\d+)-", path.stem).groups())
    assert config.train_dataloader.batch_size == batch
    assert config.auto_scale_lr.base_batch_size == gpus * batch
    epochs = int(re.search(r"-(\d+)e_", path.stem)[1])
    assert config.train_cfg.max_epochs == config.param_scheduler[-1].end == epochs
    assert config.param_scheduler[-1].T_max == epochs - config.param_scheduler[-1].begin
    assert ("amp" in path.stem) == (config.optim_wrapper.type == "bam_mm.AmpOptimWrapper")
    assert config.checkpoint is None and config.branch == "teacher"
    assert config.lr == config.optim_wrapper.optimizer.lr
    assert config.custom_hooks[0].type == "bam_mm.LoadBackboneHook"
    assert config.test_dataloader.dataset.pipeline == config.test_pipeline
    assert config.optim_wrapper.get("clip_grad") is None


@pytest.mark.parametrize(
    "stem, lr, epochs, feature, blocks, width, norm",
    [
        ("vit-base-p16_8xb128-linear-coslr-100e", 0.002 * 4, 100, "cls+mean", 1, 1536, True),
        ("vit-small-p16_8xb128-linear-coslr-100e", 0.002 * 4, 100, "cls+mean", 1, 768, True),
        ("resnet50_8xb128-linear-coslr-100e", 0.3, 100, "mean", 1, 2048, False),
        ("vit-base-p16_8xb128-linear-dino-coslr-100e", 0.001 * 4, 100, "cls+mean", 1, 1536, False),
        ("vit-small-p16_8xb128-linear-dino-coslr-100e", 0.001 * 4, 100, "cls", 4, 1536, False),
        ("vit-base-p16_8xb128-linear-mocov3-coslr-90e", 3 * 4, 90, "cls", 1, 768, False),
        ("vit-small-p16_8xb128-linear-mocov3-coslr-90e", 3 * 4, 90, "cls", 1, 384, False),
    ],
)
def test_linear_probes(stem, lr, epochs, feature, blocks, width, norm):
    config = settings(f"{stem}_in1k")
    sgd = config.optim_wrapper.optimizer
    assert (sgd.type, sgd.lr, sgd.momentum, sgd.weight_decay) == ("SGD", lr, 0.9, 0)
    [cosine] = config.param_scheduler
    assert (cosine.type, cosine.begin, cosine.end) == ("CosineAnnealingLR", 0, epochs)
    assert cosine.by_epoch and not cosine.get("convert_to_iter_based", False)
    assert cosine.get("eta_min", 0) == 0
    model = config.model
    assert (model.feature, model.get("blocks", 1)) == (feature, blocks)
    assert (model.head.in_channels, model.head.num_classes) == (width, 1000)
    assert model.head.init_cfg == dict(type="Normal", layer="Linear", std=0.01)
    assert ("neck" in model) == norm
    if norm:
        assert model.neck == dict(
            type="ClsBatchNormNeck", input_features=width, affine=False, eps=1e-6
        )
    steps = [t.type for t in config.train_dataloader.dataset.pipeline]
    assert steps == ["bam_mm.LoadImage", "RandomResizedCrop", "RandomFlip", "PackInputs"]
    assert config.test_pipeline[1].scale == 256 and config.test_pipeline[2].crop_size == 224


@pytest.mark.parametrize(
    "stem, width, features",
    [
        ("vit-base-p16_8xb128-linear-many-coslr-10e_in1k", 768, ["cls", "mean", "cls4"]),
        ("vit-small-p16_8xb128-linear-many-coslr-10e_in1k", 384, ["cls", "mean", "cls4"]),
        ("resnet50_8xb128-linear-many-coslr-10e_in1k", 2048, ["mean"]),
        ("vit-toy-p8_1xb64-linear-many-coslr-4e_toy", 96, ["cls", "mean", "cls4"]),
    ],
)
def test_many_linear_probes_are_chosen_on_images_that_they_are_not_trained_on(
    stem, width, features
):
    config = settings(stem)
    assert (config.model.in_channels, config.model.features) == (width, features)
    sgd = config.optim_wrapper.optimizer
    assert (sgd.type, sgd.lr, sgd.momentum, sgd.get("weight_decay", 0)) == ("SGD", 1, 0.9, 0)
    train = config.train_dataloader.dataset
    for data in (config.val_dataloader.dataset, config.test_cfg.val.dataset):
        assert (data.split, data.part, train.split, train.part) == (
            "train",
            "val",
            "train",
            "train",
        )
        for key in ("type", "data_root", "val_fraction", "split_seed"):
            assert data[key] == train[key]
        assert data.pipeline == config.test_pipeline
    test = config.test_dataloader.dataset
    assert test.split == "val" and test.get("part") is None
    assert config.test_evaluator == dict(type="Accuracy", topk=(1, 5))
    assert config.val_evaluator == dict(type="bam_mm.ManyLinearProbesAccuracy")
    # One variable moves the split everywhere.
    moved = settings(stem, {"split_seed": 3})
    loaders = (moved.train_dataloader, moved.val_dataloader, moved.test_cfg.val)
    assert [loader.dataset.split_seed for loader in loaders] == [3, 3, 3]


def check_deit(config, *, lr, decay, epochs, warmup, batch):
    adamw = config.optim_wrapper.optimizer
    assert (adamw.type, adamw.weight_decay) == ("AdamW", decay)
    assert adamw.lr == pytest.approx(lr) and config.auto_scale_lr.base_batch_size == batch
    first, cosine = config.param_scheduler
    assert (first.begin, first.end, cosine.begin, cosine.end) == (0, warmup, warmup, epochs)
    assert first.start_factor * adamw.lr == pytest.approx(1e-6) and cosine.eta_min == 1e-5
    assert config.optim_wrapper.clip_grad is None
    loss = config.model.head.loss
    assert (loss.type, loss.label_smooth_val) == ("LabelSmoothLoss", 0.1)


def augments(config):
    found = (config.model.train_cfg or {}).get("augments", [])
    return {a.type: a.alpha for a in found}


@pytest.mark.parametrize("size", ["base", "small"])
def test_fine_tuning_matches_deit(size):
    config = settings(f"vit-{size}-p16_8xb128-amp-coslr-150e_in1k")
    check_deit(config, lr=5e-4 * 1024 / 512, decay=0.05, epochs=150, warmup=5, batch=1024)
    assert augments(config) == {"Mixup": 0.8, "CutMix": 1.0}
    assert config.model.backbone.drop_path_rate == 0.1
    assert config.model.backbone.arch.num_heads == 12
    assert config.train_dataloader.sampler.type == "bam_mm.RepeatAugSampler"
    assert config.train_dataloader.sampler.num_repeats == 3
    steps = {t.type: t for t in config.train_dataloader.dataset.pipeline}
    rand = steps["RandAugment"]
    assert (rand.policies, rand.num_policies, rand.magnitude_level) == ("timm_increasing", 2, 9)
    assert (rand.total_level, rand.magnitude_std) == (10, 0.5)
    erasing = steps["RandomErasing"]
    assert (erasing.erase_prob, erasing.mode) == (0.25, "rand")
    assert "ColorJitter" not in steps
    ema = config.custom_hooks[-1]
    assert ema.type == "EMAHook" and 1 - ema.momentum == pytest.approx(0.99996)


@pytest.mark.parametrize("size, percent", [("small", 1), ("small", 10), ("base", 1), ("base", 10)])
def test_semi_supervised_table_9c(size, percent):
    config = settings(f"vit-{size}-p16_8xb64-amp-coslr-100e_in1k-{percent}percent")
    check_deit(config, lr=5e-5, decay=0.05, epochs=100, warmup=5, batch=512)
    assert augments(config) == {"Mixup": 0.8, "CutMix": 1.0}
    steps = {t.type: t for t in config.train_dataloader.dataset.pipeline}
    assert steps["RandomErasing"].erase_prob == 0.25
    assert config.model.backbone.drop_path_rate == 0.1
    assert config.train_dataloader.dataset.subset == f"subsets/{percent}percent.txt"
    assert config.model.backbone.arch.embed_dims == config.model.head.in_channels
    assert not any(h.type == "EMAHook" for h in config.custom_hooks)


@pytest.mark.parametrize(
    "name, images, batch, classes, decay, mixing, erasing, drop_path",
    [
        ("cifar10", 50000, 1024, 10, 0.1, {"Mixup": 0.8, "CutMix": 1.0}, 0, 0.1),
        ("cifar100", 50000, 1024, 100, 0.1, {"Mixup": 0.5, "CutMix": 1.0}, 0, 0.1),
        ("flowers", 2040, 128, 102, 0.3, {}, 0.25, 0.1),
        ("pets", 3680, 128, 37, 0.1, {"Mixup": 0.8}, 0, 0.0),
    ],
)
def test_transfer_matches_the_table_of_mocov3(
    name, images, batch, classes, decay, mixing, erasing, drop_path
):
    config = settings(f"vit-base-p16_8xb{batch // 8}-amp-coslr-100e_{name}")
    check_deit(config, lr=3e-4 * batch / 512, decay=decay, epochs=100, warmup=3, batch=batch)
    assert images // batch >= 15 and images % batch <= 0.06 * images
    assert config.lr > config.param_scheduler[-1].eta_min
    assert augments(config) == mixing
    assert config.model.backbone.drop_path_rate == drop_path
    assert config.model.head.num_classes == classes
    steps = {t.type: t for t in config.train_dataloader.dataset.pipeline}
    assert steps.get("RandomErasing", {}).get("erase_prob", 0) == erasing
    assert tuple(steps["RandomResizedCrop"].crop_ratio_range) == (0.05, 1.0)
    assert "RandAugment" not in steps
    assert config.train_dataloader.sampler.type == "DefaultSampler"
    data = config.train_dataloader.dataset
    assert (data.name, data.split) == (name, "trainval")
    assert config.test_dataloader.dataset.split == "test"


@pytest.mark.parametrize(
    "name", ["food101", "cifar10", "cifar100", "cars", "aircraft", "pets", "flowers"]
)
def test_each_data_set_has_its_metric(name):
    from bam_mm.data.transfer import TRANSFER

    config = load_config(ROOT / f"configs/_base_/datasets/{name}.py")
    assert config.num_classes == TRANSFER[name].num_classes == config.data_preprocessor.num_classes
    first = config.test_evaluator
    first = first[0] if isinstance(first, list) else first
    if TRANSFER[name].metric == "mean per-class":
        assert first == dict(type="SingleLabelMetric", items=("recall",), average="macro")
    else:
        assert first.type == "Accuracy"


def test_mean_per_class_accuracy():
    from mmpretrain.evaluation import SingleLabelMetric

    # Correct in class 0: 3 of 4; class 1: 0 of 1; class 2: 1 of 1. Mean 58.33, top-1 66.67.
    truth = torch.tensor([0, 0, 0, 0, 1, 2])
    scores = torch.eye(3)[torch.tensor([0, 0, 0, 1, 0, 2])] * 0.5 + 0.1
    [(_, recall, *_)] = SingleLabelMetric.calculate(scores, truth, average="macro")
    assert recall.item() == pytest.approx(100 * (3 / 4 + 0 + 1) / 3)


@pytest.mark.parametrize(
    "stem, millions",
    [
        ("vit-base-p16_8xb128-amp-coslr-150e_in1k", 85.7987),
        ("vit-small-p16_8xb128-amp-coslr-150e_in1k", 21.6655),
        ("resnet50_8xb128-linear-coslr-100e_in1k", 23.508),
    ],
)
def test_full_sizes(stem, millions):
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    init_default_scope("mmpretrain")
    backbone = MODELS.build(settings(stem).model.backbone)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)
