"""Configs in configs/det and configs/seg: the protocols' settings, and numbers of parameters."""

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm.launch.config import load_config
from bam_mm.registry import DATASETS, MODELS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DET = sorted((ROOT / "configs/det").glob("*.py"))
SEG = [p for p in sorted((ROOT / "configs/seg").glob("*.py")) if "dense-knn" not in p.stem]


def settings(name):
    [path] = [p for p in DET + SEG if p.stem == name]
    return load_config(path)


@pytest.mark.parametrize("path", DET + SEG, ids=lambda p: p.stem)
def test_names_match_the_settings(path):
    config = load_config(path)
    gpus, batch = (int(x) for x in re.search(r"_(\d+)xb(\d+)-", path.stem).groups())
    assert config.train_dataloader.batch_size == batch
    assert config.auto_scale_lr.base_batch_size == gpus * batch
    length, unit = re.search(r"-(\d+)(e|k|i)_", path.stem).groups()
    steps = int(length) * (1000 if unit == "k" else 1)
    assert config.train_cfg["max_epochs" if unit == "e" else "max_iters"] == steps
    assert config.param_scheduler[-1].end == steps
    assert ("amp" in path.stem) == (config.optim_wrapper.type == "bam_mm.AmpOptimWrapper")
    assert config.checkpoint is None and config.branch == "teacher"
    assert config.lr == config.optim_wrapper.optimizer.lr
    assert config.layer_decay_rate == config.optim_wrapper.paramwise_cfg.layer_decay_rate
    assert config.custom_hooks[0].type == "bam_mm.LoadBackboneHook"
    frozen = config.model.backbone.get("frozen", False)
    assert frozen == ("linear-head" in path.stem or "-frozen_" in path.stem)
    assert frozen == any(h.type == "bam_mm.FrozenBackboneHook" for h in config.custom_hooks)
    # iBOT does not clip gradients; only the toy detector does, because its few steps are large.
    clipped = path.parent.name == "det" and "toy-p8" in path.stem
    assert (config.optim_wrapper.get("clip_grad") is not None) == clipped
    assert config.test_dataloader.dataset.pipeline == config.test_pipeline
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline


@pytest.mark.parametrize("path", DET + SEG, ids=lambda p: p.stem)
def test_inferencers_find_what_they_look_for(path):
    config = load_config(path)
    for pipeline in (config.train_pipeline, config.test_pipeline):
        # mmseg's inferencer accepts only this name, without a scope.
        assert [t.type for t in pipeline[:2]] == ["bam_mm.CheckImage", "LoadImageFromFile"]
        assert pipeline[1] == dict(type="LoadImageFromFile")
    library, kind = {"det": ("mmdet", "Det"), "seg": ("mmseg", "Seg")}[path.parent.name]
    assert config.visualizer.type == f"{library}.{kind}LocalVisualizer"


@pytest.mark.parametrize("size", ["base", "small"])
@pytest.mark.parametrize("epochs, steps", [(12, [9, 11]), (36, [27, 33])])
def test_detection_matches_ibot(size, epochs, steps):
    config = settings(f"vit-{size}-p16_cascade-mask-rcnn_8xb2-amp-{epochs}e_coco")
    adamw = config.optim_wrapper.optimizer
    assert (adamw.type, adamw.lr, adamw.weight_decay) == ("AdamW", 1e-4, 0.05)
    assert adamw.betas == (0.9, 0.999) and config.layer_decay_rate == 0.75
    warmup, step = config.param_scheduler
    assert (warmup.type, warmup.start_factor, warmup.end) == ("LinearLR", 1e-3, 500)
    assert not warmup.by_epoch and step.by_epoch
    assert (step.type, step.milestones, step.gamma) == ("MultiStepLR", steps, 0.1)
    vit = config.model.backbone
    assert (list(vit.blocks), vit.norm, vit.img_size) == ([3, 5, 7, 11], "none", 224)
    assert vit.drop_path_rate == (0.2 if size == "base" else 0.1)
    assert (vit.arch.num_layers, vit.arch.num_heads) == (12, 12)
    pyramid, fpn, last = config.model.neck
    assert (pyramid.type, pyramid.rescales) == ("mmseg.Feature2Pyramid", [4, 2, 1, 0.5])
    assert pyramid.embed_dim == vit.arch.embed_dims == fpn.in_channels[0]
    assert (fpn.out_channels, fpn.num_outs, last.type) == (256, 5, "bam_mm.ToFloat32")
    roi = config.model.roi_head
    assert list(roi.stage_loss_weights) == [1, 0.5, 0.25]
    deviations = [h.bbox_coder.target_stds for h in roi.bbox_head]
    assert deviations == [
        [0.1, 0.1, 0.2, 0.2],
        [0.05, 0.05, 0.1, 0.1],
        [0.033, 0.033, 0.067, 0.067],
    ]
    for head in roi.bbox_head:
        assert (head.num_shared_convs, head.num_shared_fcs, head.norm_cfg.type) == (4, 1, "SyncBN")
        assert head.reg_decoded_bbox and not head.reg_class_agnostic
        assert head.loss_bbox == dict(type="GIoULoss", loss_weight=10.0)
    assert [s.assigner.pos_iou_thr for s in config.model.train_cfg.rcnn] == [0.5, 0.6, 0.7]
    anchors = config.model.rpn_head.anchor_generator
    assert (anchors.scales, anchors.ratios) == ([8], [0.5, 1.0, 2.0])
    assert config.model.data_preprocessor.pad_size_divisor == 32
    test = config.model.test_cfg
    assert (test.rpn.nms.iou_threshold, test.rpn.max_per_img) == (0.7, 1000)
    assert (test.rcnn.score_thr, test.rcnn.nms.iou_threshold) == (0.05, 0.5)
    assert (test.rcnn.max_per_img, test.rcnn.mask_thr_binary) == (100, 0.5)


@pytest.mark.parametrize("name", ["vit-base-p16", "resnet50"])
def test_frozen_detection_differs_in_the_backbone_alone(name):
    frozen, full = (
        settings(f"{name}_cascade-mask-rcnn{part}_8xb2-amp-12e_coco") for part in ("-frozen", "")
    )
    assert frozen.model.backbone.frozen and frozen.layer_decay_rate == 1
    assert frozen.optim_wrapper.optimizer == full.optim_wrapper.optimizer
    for key in ("neck", "rpn_head", "roi_head", "train_cfg", "test_cfg"):
        assert frozen.model[key] == full.model[key]
    for key in ("train_dataloader", "param_scheduler", "train_cfg", "test_dataloader"):
        assert frozen[key] == full[key]


@pytest.mark.parametrize("data, bank, classes", [("ade20k", "training", 150), ("voc", "", 21)])
def test_dense_knn_matches_the_papers_settings(data, bank, classes):
    for name in ("vit-base-p16", "resnet50"):
        config = load_config(ROOT / f"configs/seg/{name}_dense-knn_{data}.py")
        loop = config.test_cfg
        assert (loop.k, loop.temperature, loop.bank_size) == (30, 0.02, 1_024_000)
        prefixes = [d.dataset.data_prefix.img_path for d in (loop.bank, config.test_dataloader)]
        assert bank in prefixes[0] and (prefixes[0] != prefixes[1]) == bool(bank)
        assert loop.bank.dataset.pipeline == config.test_dataloader.dataset.pipeline
        steps = {t.type: t for t in config.pipeline}
        assert steps["Resize"] == dict(type="Resize", scale=(512, 512), keep_ratio=False)
        # Maps keep their size, since they are loaded after it.
        assert list(steps)[-2:] == ["bam_mm.LoadSemanticMap", "PackSegInputs"]
        import_module("mmseg.datasets")
        kind = DATASETS.get(f"mmseg.{config.test_dataloader.dataset.type}")
        assert len(kind.METAINFO["classes"]) == classes == config.num_classes


def test_multi_scale_training():
    config = settings("vit-base-p16_cascade-mask-rcnn_8xb2-amp-12e_coco")
    steps = {t.type: t for t in config.train_pipeline}
    assert steps["RandomFlip"].prob == 0.5
    plain, cropped = steps["RandomChoice"].transforms
    wide = [(s, 1333) for s in (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)]
    assert plain[0].scales == cropped[2].scales == wide and len(plain) == 1
    assert cropped[0].scales == [(400, 1333), (500, 1333), (600, 1333)]
    assert (cropped[1].crop_type, cropped[1].crop_size) == ("absolute_range", (384, 600))
    assert [t.scale for t in config.test_pipeline if t.type == "Resize"] == [(1333, 800)]


@pytest.mark.parametrize(
    "name, lr, decay, norm",
    [
        ("vit-base-p16_upernet", 8e-5, 0.65, "all"),
        ("vit-base-p16_upernet-mae", 1e-4, 0.65, "none"),
        ("vit-small-p16_upernet", 3e-5, 0.9, "all"),
        ("vit-small-p16_upernet-mae", 1e-4, 0.65, "none"),
    ],
)
def test_upernet_variants(name, lr, decay, norm):
    config = settings(f"{name}_8xb2-amp-160k_ade20k-512x512")
    adamw, vit = config.optim_wrapper.optimizer, config.model.backbone
    assert (adamw.type, adamw.lr, adamw.weight_decay) == ("AdamW", lr, 0.05)
    assert (config.layer_decay_rate, vit.norm, vit.drop_path_rate) == (decay, norm, 0.1)
    assert list(vit.blocks) == [3, 5, 7, 11]
    width = vit.arch.embed_dims
    assert config.model.decode_head.channels == config.model.neck.embed_dim == width
    auxiliary = config.model.auxiliary_head
    assert (auxiliary.in_index, auxiliary.channels, auxiliary.in_channels) == (2, 256, width)
    assert auxiliary.loss_decode.loss_weight == 0.4
    warmup, poly = config.param_scheduler
    assert (warmup.start_factor, warmup.end, poly.begin, poly.end) == (1e-6, 1500, 1500, 160000)
    assert (poly.type, poly.power, poly.eta_min) == ("PolyLR", 1.0, 0.0)
    assert config.model.test_cfg == dict(mode="slide", crop_size=(512, 512), stride=(341, 341))
    steps = {t.type: t for t in config.train_pipeline}
    assert (steps["RandomResize"].scale, steps["RandomResize"].ratio_range) == (
        (2048, 512),
        (0.5, 2),
    )
    assert (steps["RandomCrop"].crop_size, steps["RandomCrop"].cat_max_ratio) == ((512, 512), 0.75)
    assert "PhotoMetricDistortion" in steps


def vit_b():
    """Count the parameters: patches, class token, positions, twelve blocks and norm."""
    d = 768
    block = 4 * d * d + 4 * d + 2 * 4 * d * d + 5 * d + 2 * 2 * d
    return 3 * 16 * 16 * d + d + d + (14 * 14 + 1) * d + 12 * block + 2 * d


def pyramid(d):
    """Count the parameters: three transposed 2x2 convolutions, a norm between the finest two."""
    return 3 * (2 * 2 * d * d + d) + 2 * d


def conv(a, b, k, norm=False):
    return a * b * k * k + (2 * b if norm else b)


def count(name):
    config = settings(name)
    init_default_scope(config.default_scope)
    with torch.device("meta"):  # Only shapes, no memory.
        model = MODELS.build(config.model)
    return sum(p.numel() for p in model.parameters())


def test_parameters_of_cascade_mask_rcnn():
    assert vit_b() == 85_798_656
    fpn = 4 * conv(768, 256, 1) + 4 * conv(256, 256, 3)
    rpn = conv(256, 256, 3) + conv(256, 3, 1) + conv(256, 3 * 4, 1)
    box = (
        4 * conv(256, 256, 3, norm=True)
        + (256 * 7 * 7 + 1) * 1024
        + (1024 + 1) * 81
        + (1024 + 1) * 80 * 4
    )
    mask = 4 * conv(256, 256, 3) + conv(256, 256, 2) + conv(256, 80, 1)
    total = vit_b() + pyramid(768) + fpn + rpn + 3 * box + 3 * mask
    assert total == 151_407_282
    assert count("vit-base-p16_cascade-mask-rcnn_8xb2-amp-12e_coco") == total


def test_parameters_of_upernet():
    pooled = 4 * conv(768, 768, 1, norm=True) + conv(5 * 768, 768, 3, norm=True)
    levels = 3 * conv(768, 768, 1, norm=True) + 3 * conv(768, 768, 3, norm=True)
    head = pooled + levels + conv(4 * 768, 768, 3, norm=True) + conv(768, 150, 1)
    auxiliary = conv(768, 256, 3, norm=True) + conv(256, 150, 1)
    total = vit_b() + pyramid(768) + head + auxiliary
    assert total == 162_652_460
    assert count("vit-base-p16_upernet_8xb2-amp-160k_ade20k-512x512") == total


def test_parameters_of_the_linear_head():
    total = vit_b() + conv(4 * 768, 150, 1)
    assert count("vit-base-p16_linear-head_8xb2-amp-160k_ade20k-512x512") == total
