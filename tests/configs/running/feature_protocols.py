"""Configs of kNN, logistic regression and clustering: the test loop at reduced size."""

import math
from argparse import Namespace

from bam_mm.launch.config import load_config
from bam_mm.launch.testing import test as run_test
from tests.protocols.feature_runs import SMALL

PROTOCOLS = tuple(SMALL)


def protocol_of(path):
    """Return ``knn``, ``logreg`` or ``cluster``, or None for a config that trains."""
    return next((p for p in PROTOCOLS if f"_{p}_" in path.stem), None)


def run(path, world, work_dir, launcher="none"):
    """Extract features of a few images of the toy world with a small backbone and evaluate them."""
    protocol = protocol_of(path)
    images = world / "images"
    options = {**SMALL[protocol], "cache_dir": str(work_dir / "cache")}
    config = load_config(path)
    if config.test_cfg.get("val") is not None:
        options.pop("test_cfg.val_fraction", None)
    config = load_config(path, options)
    loaders = [config.test_dataloader, *(config.test_cfg.get(n) for n in ("bank", "train", "val"))]
    for number, loader in enumerate(filter(None, loaders)):
        loader.update(num_workers=0, batch_size=16)
        data = loader.dataset
        # The data sets are not available; the rest of the protocol runs on the toy world.
        data.pop("name", None)
        data.update(type="bam_mm.ImageFolder", data_root=str(images))
        data.split = "val" if number == 0 else "train"
        for step in data.pipeline:
            if step.type in ("ResizeEdge", "CenterCrop"):
                key = "scale" if step.type == "ResizeEdge" else "crop_size"
                step[key] = min(step[key], 64)
    backbone = config.model.backbone
    if backbone.get("arch") in ("base", "mocov3-small"):
        backbone.arch = dict(embed_dims=96, num_layers=2, num_heads=12, feedforward_channels=96)
        backbone.img_size = 64
    args = Namespace(
        config=str(path), checkpoint="random", work_dir=str(work_dir), launcher=launcher, out=None
    )
    metrics = run_test(config, args)
    assert metrics and all(math.isfinite(value) for value in metrics.values())
