"""Runs of the feature protocols on a very small toy world, as tools/test.py starts them."""

from argparse import Namespace
from pathlib import Path

from bam_mm.launch.config import load_config
from bam_mm.launch.testing import test as run_test

ROOT = Path(__file__).resolve().parents[2]
SMALL = {
    "knn": {"test_cfg.k": [3, 5]},
    "logreg": {"test_cfg.val_fraction": 0.25, "test_cfg.penalties": [1e-2, 1, 100, 1e4]},
    "cluster": {"test_cfg.num_classes": [2, 4], "test_cfg.draws": 3, "test_cfg.n_init": 2},
}


def evaluate(protocol, images, out, options=None, checkpoint="random", launcher="none"):
    """Evaluate a toy config with small settings and return its metrics."""
    path = ROOT / f"configs/cls/vit-toy-p8_{protocol}_toy.py"
    options = {
        "data_root": str(images),
        "cache_dir": str(out / "cache"),
        **SMALL[protocol],
        **(options or {}),
    }
    config = load_config(path, options)
    loaders = [config.test_dataloader, *(config.test_cfg.get(n) for n in ("bank", "train", "val"))]
    for loader in filter(None, loaders):
        loader.update(num_workers=0, batch_size=16)
    args = Namespace(
        config=str(path), checkpoint=str(checkpoint), work_dir=str(out), launcher=launcher,
        out=str(out / f"{protocol}.json"), cfg_options=options,
    )  # fmt: skip
    out.mkdir(exist_ok=True, parents=True)
    return run_test(config, args)
