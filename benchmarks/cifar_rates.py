"""Images per second of the loaders and of training steps at 32 px, with the 200-epoch configs.

    python benchmarks/cifar_rates.py                          # 40,000 JPEGs made for it, on a GPU
    python benchmarks/cifar_rates.py --data data/cifar10 --workers 16
    python benchmarks/cifar_rates.py --device cpu --images 400 --batch 32    # to see that it runs

BAM and SimCLR with ResNet-18 and the small stem, in the precision of the configs. Timed are an
epoch of the loader alone, one with training after ten steps, and steps with one batch that is
already there. The lower of the first and the last limits a training.
"""

import argparse
import itertools
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
UNTIMED, REPEATED = 10, 20


def make_images(folder: Path, count: int) -> None:
    """Write smooth noise as JPEGs of 32 px, in ten classes."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"train/class{number % 10}/{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        image = cv2.resize(noise, (32, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 92])


def build(name: str, args: argparse.Namespace, data: Path):
    """Return loader, model and optimizer of a config."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from bam_mm.launch.config import load_config
    from bam_mm.registry import MODELS

    config = load_config(ROOT / CONFIGS[name])
    init_default_scope(config.default_scope)
    part = config.train_dataloader
    part.dataset.data_root, part.num_workers = str(data), args.workers
    part.batch_size = args.batch or part.batch_size
    if args.device == "cpu":  # mmengine's autocast needs a GPU.
        config.optim_wrapper.type = "OptimWrapper"
        config.optim_wrapper.pop("dtype")
    model = MODELS.build(config.model).to(args.device, memory_format=torch.channels_last).train()
    loader = Runner.build_dataloader(part, seed=0)
    return loader, model, build_optim_wrapper(model, config.optim_wrapper)


def measure(name: str, args: argparse.Namespace, data: Path) -> dict[str, float]:
    """Return images per second of the loader alone, with training, and of training alone."""
    loader, model, optimizer = build(name, args, data)
    for _ in loader:  # starts the workers
        pass
    start = time.perf_counter()
    count = sum(1 for _ in loader)
    batch = loader.batch_size
    rates = {"loader": count * batch / (time.perf_counter() - start)}
    timed = iter(loader)
    for images in itertools.islice(timed, UNTIMED):
        model.train_step(images, optimizer)
    synchronize(args.device)
    start, count = time.perf_counter(), 0
    for images in timed:
        model.train_step(images, optimizer)
        count += 1
    synchronize(args.device)
    rates["training"] = count * batch / (time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(REPEATED):
        model.train_step(images, optimizer)
    synchronize(args.device)
    rates["steps alone"] = REPEATED * batch / (time.perf_counter() - start)
    print(", ".join([name, *(f"{what}: {rate:.0f} images/s" for what, rate in rates.items())]))
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
    with tempfile.TemporaryDirectory() as made:
        if args.data is None:
            make_images(Path(made), args.images)
        torch.set_num_threads(1)
        found = {name: measure(name, args, args.data or Path(made)) for name in CONFIGS}
    write_json(args.json, {}, found)


if __name__ == "__main__":
    main()
