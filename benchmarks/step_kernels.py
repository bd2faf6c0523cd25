"""Where the time of a pretraining step on a GPU goes: kernels by kind, parts and batch sizes.

    python benchmarks/step_kernels.py                          # ViT-B/16, batch 128
    python benchmarks/step_kernels.py --backbone vit-small-p16 --batch 256

The step is that of ``training_step.py``, eager and with compiled blocks, in bfloat16.
"""

import argparse
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

logging.disable(logging.INFO)  # mmengine logs every weight that is initialised.
from benchmarks.training_step_variants import MOMENTUM, Bench

CROPS = ["2x224", "6x96"]
KINDS = {
    "attention": ("flash", "fmha", "softmax"),
    "matrix products": ("gemm", "gemv", "nvjet", "cutlass", "xmma"),
    "compiled elementwise": ("triton",),
    "norms": ("layer_norm", "layernorm", "gammabeta", "batch_norm", "bn_"),
    "optimizer, teacher": ("adam", "lerp", "multi_tensor"),
    "copies, casts": ("copy", "memcpy", "cat", "convert"),
    "elementwise, sums": ("elementwise", "reduce"),
}
"""Words in the names of kernels, by kind; the first kind that matches counts."""


def kind_of(kernel: str) -> str:
    """Return the kind of a kernel by its name."""
    name = kernel.lower()
    return next((kind for kind, words in KINDS.items() if any(w in name for w in words)), "others")


def seconds_each(function: Callable[[], object], runs: int = 5) -> float:
    """Return the mean duration of calls, after two that are not timed."""
    function(), function()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(runs):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / runs


def print_kernels(bench: Bench, name: str) -> None:
    """Print the time in kernels of one step by kind, each with its longest kernels."""
    step = bench.step_of(name)
    took = seconds_each(step)
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        step()
    kinds: dict[str, list[tuple[float, int, str]]] = defaultdict(list)
    for row in recorded.key_averages():
        if row.self_device_time_total > 0:
            kinds[kind_of(row.key)].append((row.self_device_time_total / 1e3, row.count, row.key))
    total = sum(kernel[0] for kernels in kinds.values() for kernel in kernels)
    print(f"{name}: {1e3 * took:.1f} ms a step, {total:.1f} ms in kernels")
    for kind, kernels in sorted(kinds.items(), key=lambda item: -sum(k[0] for k in item[1])):
        part = sum(kernel[0] for kernel in kernels)
        print(f"  {kind:22} {part:8.2f} ms {100 * part / total:5.1f} %")
        for spent, count, key in sorted(kernels, reverse=True)[:3]:
            print(f"      {spent:8.2f} ms in {count:4} x {key[:90]}", flush=True)


def print_parts(bench: Bench) -> None:
    """Print the time of the parts of the compiled step."""
    model, optimizer = bench.model("compiled"), bench.optimizer("compiled")

    def loss() -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return model.loss(bench.drawn["bam"], [])["loss"]

    def gradients() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()

    parts = {
        "forward, loss and backward": gradients,
        "optimizer": optimizer.step,
        "teacher": lambda: model.update_teacher(MOMENTUM),
    }
    for name, part in parts.items():
        print(f"  {name}: {1e3 * seconds_each(part):.1f} ms", flush=True)
    optimizer.zero_grad(set_to_none=True)


def main() -> None:
    """Profile a step, its parts and other batch sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vit-base-p16")
    parser.add_argument("--batch", type=int, default=128)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch finds no GPU here (make doctor checks it)")
    bench = Bench(args.backbone, args.batch, CROPS, "cuda")
    print(f"{bench.device_name}, {args.backbone}, batch {args.batch}, {' '.join(CROPS)}")
    for name in ("ours", "compiled"):
        print_kernels(bench, name)
    print_parts(bench)
    for batch in (args.batch // 2, args.batch * 2):  # Compiled anew.
        other = Bench(args.backbone, batch, CROPS, "cuda")
        other.models, other.optimizers = bench.models, bench.optimizers
        try:
            took = seconds_each(other.step_of("compiled"))
        except torch.cuda.OutOfMemoryError:
            print(f"batch {batch}: not enough memory")
        else:
            print(f"batch {batch}, compiled: {batch / took:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
