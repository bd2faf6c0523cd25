"""Segmentation configs on the toy world's class maps."""

import copy
from argparse import Namespace

from bam_mm.launch.config import load_config
from bam_mm.launch.testing import test as run_test
from tests.configs.running.dense import shrink, train_once


def run(path, world, work_dir):
    """Train for one iteration on two crops of 64x64 pixels, or test what is not trained."""
    if "dense-knn" in path.stem:
        run_dense_knn(path, world, work_dir)
        return
    config = reduced(path, world, work_dir)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.default_hooks.checkpoint = None
    train_once(config)


def reduced(path, world, work_dir):
    """Load a config with narrow parts and two images for training."""
    toy = load_config(path.parent / "vit-toy-p8_upernet_1xb4-400i_toy.py")
    config = load_config(
        path,
        {
            "checkpoint": "random",
            "num_classes": toy.num_classes,
            "data_root": str(world / "ade20k"),
            "work_dir": str(work_dir),
            "crop_size": (64, 64),
            "+scale": (256, 64),  # The toy configs have none.
        },
    )
    config.model.data_preprocessor.size = None
    config.model.data_preprocessor.size_divisor = 64
    config.train_dataloader.update(num_workers=0, persistent_workers=False, batch_size=2)
    # mmseg's ADE20KDataset only accepts the class names of ADE20K.
    config.train_dataloader.dataset.update(
        indices=2,
        type="BaseSegDataset",
        metainfo=toy.metainfo,
        reduce_zero_label=True,
        data_prefix=toy.train_dataloader.dataset.data_prefix,
    )
    config.train_cfg.max_iters = 1
    narrow(config.model, shrink(config.model.backbone))
    return config


def run_dense_knn(path, world, work_dir, launcher="none"):
    """Fill a bank with a few patches of the toy world's scenes and predict others."""
    toy = load_config(path.parent / "vit-toy-p8_dense-knn_toy.py")
    config = load_config(path, {"test_cfg.bank_size": 40, "test_cfg.k": 3})
    for loader, like in (
        (config.test_dataloader, toy.test_dataloader),
        (config.test_cfg.bank, toy.test_cfg.bank),
    ):
        loader.update(num_workers=0, batch_size=2)
        loader.dataset = copy.deepcopy(like.dataset)
        loader.dataset.update(data_root=str(world / "ade20k"), indices=4)
    backbone = config.model.backbone
    if isinstance(backbone.get("arch"), str):
        backbone.arch = dict(embed_dims=96, num_layers=2, num_heads=12, feedforward_channels=96)
        backbone.img_size = 64
    args = Namespace(
        config=str(path), checkpoint="random", work_dir=str(work_dir), launcher=launcher, out=None
    )
    metrics = run_test(config, args)
    assert {*metrics} == {"mIoU", "mAcc", "aAcc", "chance/mIoU", "chance/aAcc"}
    assert 0 < metrics["chance/mIoU"] < 100 and 0 < metrics["mIoU"] < 100


def narrow(model, maps):
    """Adapt neck and heads to the maps of the backbone and make them narrow too."""
    if model.get("neck"):
        model.neck.embed_dim = maps[0]
    linear = model.decode_head.type == "FCNHead"
    model.decode_head.update(in_channels=maps, channels=sum(maps) if linear else 32)
    if model.get("auxiliary_head"):
        model.auxiliary_head.update(in_channels=maps[2], channels=16)
