"""Images per second of the loaders and of training at 32 px, with the 200-epoch configs.

    python benchmarks/cifar_rates.py                          # 40,000 JPEGs made for it, on a GPU
    python benchmarks/cifar_rates.py --data data/cifar10 --workers 16
    python benchmarks/cifar_rates.py --device cpu --images 200 --batch 16    # to see that it runs

BAM and SimCLR are trained for two epochs as their configs say, with ResNet-18 and the small stem,
but without scoring, and the second epoch is timed. Then an epoch of the loader alone is timed, and
steps with one batch: the lower of these two limits the training.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.measuring import add_json_option, write_json
from benchmarks.model_flops import synchronize

CONFIGS = {
    "SimCLR": "configs/methods/simclr_resnet18_1xb512-amp-coslr-200e_cifar10.py",
    "BAM": "configs/pretrain/bam_resnet18_1xb512-amp-coslr-200e_cifar10.py",
}
REPEATED = 20


def make_images(folder: Path, count: int) -> None:
    """Write smooth noise as JPEGs of 32 px, in ten classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"train/class{number % 10}/{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = cv2.resize(noise, (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 92])


def clock_hook(device: str):
    """Return a hook that keeps the duration of each epoch and the last batch."""
    from mmengine.hooks import Hook

    class Clock(Hook):
        priority = "LOWEST"

        def __init__(self) -> None:
            self.seconds: list[float] = []

        def before_train_epoch(self, runner) -> None:
            synchronize(device)
            self.start = time.perf_counter()

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
            self.batch = data_batch

        def after_train_epoch(self, runner) -> None:
            synchronize(device)
            self.seconds.append(time.perf_counter() - self.start)

    return Clock()


def measure(name: str, args: argparse.Namespace, data: Path, work: Path) -> dict[str, float]:
    """Return images per second of training, of the loader alone, and of steps with one batch."""
    from mmengine.runner import Runner

    from bam_mm.launch.config import load_config

    config = load_config(ROOT / CONFIGS[name])
    config.work_dir, config.launcher, config.log_level = str(work / name), "none", "WARNING"
    config.train_cfg.max_epochs = 2
    config.custom_hooks = [h for h in config.custom_hooks if h["type"] != "bam_mm.OnlineKNNHook"]
    part = config.train_dataloader
    part.dataset.data_root, part.num_workers = str(data), args.workers
    part.batch_size = args.batch or part.batch_size
    if args.device == "cpu":  # mmengine's autocast needs a GPU.
        config.optim_wrapper.type = "OptimWrapper"
        config.optim_wrapper.pop("dtype")
    runner = Runner.from_cfg(config)
    clock = clock_hook(args.device)
    runner.register_hook(clock)
    runner.train()
    loader = runner.train_dataloader
    images = len(loader) * part.batch_size
    rates = {"training": images / clock.seconds[-1]}
    start = time.perf_counter()
    for _ in loader:
        pass
    rates["loader"] = images / (time.perf_counter() - start)
    synchronize(args.device)
    start = time.perf_counter()
    for _ in range(REPEATED):
        runner.model.train_step(clock.batch, runner.optim_wrapper)
    synchronize(args.device)
    rates["steps with one batch"] = REPEATED * part.batch_size / (time.perf_counter() - start)
    shown = [f"{what}: {rate:.0f} images/s" for what, rate in rates.items()]
    print(", ".join([f"{name}, {args.workers} workers", *shown]), flush=True)
    return rates


def main() -> None:
    """Measure both methods."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with train/CLASS/IMAGE (default: made)")
    parser.add_argument("--images", type=int, default=40_000, help="number of images that are made")
    parser.add_argument("--workers", type=int, default=torch.get_num_threads())
    parser.add_argument("--batch", type=int, help="default: that of the configs, 512")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    add_json_option(parser)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here (make doctor checks it)")
    if args.data is not None and not (args.data / "train").is_dir():
        parser.error(f"{args.data} has no folder train/")
    if args.data is None and args.images < (args.batch or 512):
        parser.error(f"--images {args.images}: less than a batch of {args.batch or 512}")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        data, work = Path(folder, "data"), Path(folder, "work")
        if args.data is None:
            make_images(data, args.images)
        torch.set_num_threads(1)
        for name in CONFIGS:
            found[name] = measure(name, args, args.data or data, work)
            write_json(args.json, {}, found)  # each at once, so that a stop loses only the rest


if __name__ == "__main__":
    main()
