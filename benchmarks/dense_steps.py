"""Images per second and memory of training Cascade Mask R-CNN and UPerNet with ViT-B on a GPU.

    python benchmarks/dense_steps.py
    python benchmarks/dense_steps.py --device cpu --steps 1    # float32, to see that it runs

Steps are those of the configs: forward in the precision of their ``optim_wrapper``, backward and
AdamW with layer decay, with two random images of 512 px, for detection with ten boxes and masks
each. Weights are random; the loss of the first (untimed) and of the last step is printed.
"""

import argparse
import gc
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.cascade_mask_rcnn_step import make_batch

CONFIGS = {
    "Cascade Mask R-CNN": "det/vit-base-p16_cascade-mask-rcnn_8xb2-amp-12e_coco.py",
    "UPerNet": "seg/vit-base-p16_upernet_8xb2-amp-160k_ade20k-512x512.py",
}
SIDE, IMAGES, UNTIMED = 512, 2, 5


def labelled(classes: int) -> dict:
    """Draw an image and its map of classes, in the format of mmseg's loaders."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    size = SIDE, SIDE
    sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=size))
    sample.gt_sem_seg = PixelData(data=torch.randint(classes, (1, *size)))
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    return dict(inputs=[image], data_samples=[sample])


def measure(name: str, device: str, steps: int) -> None:
    """Train for some steps and print what they took."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope

    from bam_mm.launch.config import load_config
    from bam_mm.registry import MODELS

    config = load_config(ROOT / "configs" / CONFIGS[name])
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(config.model).to(device).train()
    wrapper = dict(config.optim_wrapper)
    if device == "cpu":
        wrapper["type"] = "OptimWrapper"
    optimizer = build_optim_wrapper(model, wrapper)
    if name == "UPerNet":
        parts = [labelled(model.num_classes) for _ in range(IMAGES)]
    else:
        parts = [make_batch((SIDE, SIDE), 10) for _ in range(IMAGES)]
    batch = {key: [part[key][0] for part in parts] for key in parts[0]}
    losses = []

    def step() -> None:
        losses.append(model.train_step(batch, optimizer)["loss"].detach())

    for _ in range(UNTIMED if device == "cuda" else 0):
        step()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    memory = ""
    if device == "cuda":
        torch.cuda.synchronize()
        memory = f", peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    took = time.perf_counter() - start
    first, last = (losses[n].item() for n in (0, -1))
    dtype = torch.float32
    if device == "cuda":  # As AmpOptimWrapper: without a setting, that of torch.
        dtype = getattr(optimizer, "cast_dtype", None) or torch.get_autocast_dtype("cuda")
    print(
        f"{name}, {dtype}: "
        f"{steps * IMAGES / took:.1f} images/s{memory}, loss {first:.3f}, then {last:.3f}",
        flush=True,
    )


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    if args.steps < 1:
        parser.error(f"--steps {args.steps}: must be at least 1")
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no GPU here (make doctor checks it)")
    print(torch.cuda.get_device_name() if args.device == "cuda" else "CPU")
    for name in CONFIGS:
        measure(name, args.device, args.steps)
        gc.collect()  # The next peak must not include this model.


if __name__ == "__main__":
    main()
