"""Images per second and core of the three loaders of a pretraining config.

    python benchmarks/loader_rates.py

The loaders are those of training, of ContrastiveCrop's boxes and of the online kNN. The photometric
augmentation is on the device. The JPEGs are those of ``benchmarks/data.py``, 500 x 400 px. Rates
are medians, by processor time (on which other work on the machine has little effect) and by wall
clock.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# The libraries print messages when they are imported.
with contextlib.redirect_stdout(sys.stderr):
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope

    from bam_mm.launch.config import load_config
    from bam_mm.registry import TRANSFORMS
    from benchmarks.data import write_jpegs
    from benchmarks.measuring import cpu_seconds, seconds

CONFIG = "bam_mm::pretrain/bam_vit-base-p16_16xb256-amp-coslr-300e_in1k.py"


def pipelines(config_name: str) -> dict[str, Compose]:
    """Build the three pipelines of a config by name."""
    init_default_scope("mmpretrain")
    config = load_config(config_name)
    training = [dict(step) for step in config.train_dataloader.dataset.pipeline]
    for step in training:
        if "photometric_place" in step:
            step["photometric_place"] = "device"
    steps = {
        "training": training,
        "boxes": config.default_hooks.boxes.loader.pipeline,
        "kNN": config.knn_bank.dataset.pipeline,
    }
    return {name: Compose([TRANSFORMS.build(s) for s in part]) for name, part in steps.items()}


def reading(pipeline: Compose, paths: list[str]) -> Callable[[], None]:
    """Return a function that loads all files."""

    def run() -> None:
        for index, path in enumerate(paths):
            pipeline(dict(img_path=path, sample_idx=index, gt_label=0))

    return run


def main() -> None:
    """Measure and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_jpegs(Path(folder), args.images, 400, 500)
        loads = {name: reading(part, paths) for name, part in pipelines(args.config).items()}
        for name, load in loads.items():
            load()  # untimed
            medians = [
                statistics.median(timer(load) for _ in range(args.runs))
                for timer in (cpu_seconds, seconds)
            ]
            by_cpu, by_clock = (args.images / median for median in medians)
            print(f"{name}: {by_cpu:.0f} images/s by processor time, {by_clock:.0f} by wall clock")


if __name__ == "__main__":
    main()
