"""Time and memory of ``propagate_labels`` on the CPU, compared with a dense implementation.

    python benchmarks/label_propagation.py

The input is one frame at 480p: 30 x 54 patches, 768-d, 8 context frames, and the 5 nearest patches
within a radius of 12. Times are medians of alternating runs. Extra memory is the growth of the peak
resident size during one call, in a fresh process for each implementation, after the inputs and the
dense mask have been created.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.evaluation.label_propagation import propagate_labels
from bam_mm.evaluation.patch_window import window_bands
from benchmarks.baselines.whole_matrix_label_propagation import (
    dense_propagate_labels,
    window_mask_by_loops,
)
from benchmarks.measuring import (
    add_json_option,
    alternate,
    extra_memory,
    in_fresh_process,
    seconds,
    write_json,
)

RADIUS, TOPK, TEMPERATURE, CLASSES = 12, 5, 0.1, 4


def make_inputs(grid: tuple[int, int], dim: int, frames: int) -> tuple[torch.Tensor, ...]:
    """Draw a frame, its context (noisy versions of the same features) and soft labels."""
    torch.manual_seed(0)
    patches = grid[0] * grid[1]
    base = torch.randn(patches, dim)
    target = base + 0.5 * torch.randn(patches, dim)
    context = torch.randn(frames, patches, dim).mul_(0.5).add_(base)
    labels = torch.randn(frames, CLASSES, *grid).mul_(3).softmax(1)
    return target, context, labels


def window_mask(grid: tuple[int, int]) -> torch.Tensor:
    """Create the dense mask without loops, for runs that do not measure its creation."""
    y, x = (i.flatten() for i in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    near = ((y[:, None] - y).abs() <= RADIUS) & ((x[:, None] - x).abs() <= RADIUS)
    return near.float()


def prepare_window(grid: tuple[int, int]) -> None:
    """Compute everything that a propagation needs to know about the window."""
    window_bands.cache_clear()
    for band in window_bands(grid, RADIUS):
        band.row_penalty(RADIUS)


def ours(target, context, labels, grid):
    """Run the implementation of this package."""
    return propagate_labels(
        target, context, labels, grid=grid, topk=TOPK, radius=RADIUS, temperature=TEMPERATURE
    )


def dense(target, context, labels, grid, mask):
    """Run the baseline."""
    return dense_propagate_labels(target, context, labels, mask, TOPK, TEMPERATURE)


def measure_memory(which: str, grid: tuple[int, int], dim: int, frames: int) -> float:
    """Return the extra memory of one call in MiB, after a call on a small input."""
    for size, d, n in (((4, 5), 16, 2), (grid, dim, frames)):
        inputs = (*make_inputs(size, d, n), size)
        call, last = (ours, ()) if which == "ours" else (dense, (window_mask(size),))
        extra = extra_memory(lambda call=call, last=last, inputs=inputs: call(*inputs, *last))
    return extra


def main() -> None:
    """Run the comparison and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--grid", type=int, nargs=2, default=(30, 54))
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", choices=("ours", "dense"), help="print only extra MiB")
    add_json_option(parser)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    grid = tuple(args.grid)
    if args.memory:
        print(measure_memory(args.memory, grid, args.dim, args.frames))
        return

    window = min(seconds(lambda: prepare_window(grid)) for _ in range(args.runs))
    loops = seconds(lambda: window_mask_by_loops(grid, RADIUS))
    print(f"window: ours {1e3 * window:.2f} ms, dense by loops {loops:.1f} s")

    mask, inputs = window_mask(grid), (*make_inputs(grid, args.dim, args.frames), grid)
    difference = (ours(*inputs) - dense(*inputs, mask)).abs().max().item()
    double = (*(t.double() for t in inputs[:3]), grid)
    exact = (ours(*double) - dense(*double, mask.double())).abs().max().item()
    print(f"largest difference: {difference:.1e} in float32, {exact:.1e} in float64")

    fast, slow, ratio = alternate(
        lambda: ours(*inputs), lambda: dense(*inputs, mask), runs=args.runs
    )
    print(f"time: ours {1e3 * fast:.0f} ms, dense {1e3 * slow:.0f} ms, ratio {ratio:.2f}")

    settings = ["--dim", args.dim, "--frames", args.frames, "--threads", args.threads]
    ours_mib, dense_mib = (
        in_fresh_process(__file__, "--memory", which, "--grid", *grid, *settings)
        for which in ("ours", "dense")
    )
    memory_ratio = dense_mib / ours_mib
    print(
        f"extra memory: ours {ours_mib:.0f} MiB, dense {dense_mib:.0f} MiB, "
        f"ratio {memory_ratio:.2f}"
    )
    figures = {
        "difference": difference,
        "ms": 1e3 * fast,
        "MiB": ours_mib,
        "window ms": 1e3 * window,
    }
    write_json(args.json, {"time": ratio, "extra memory": memory_ratio}, figures)


if __name__ == "__main__":
    main()
