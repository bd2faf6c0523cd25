"""Time and memory of ``bam_loss``, forward and backward, compared with whole matrices in memory.

    python benchmarks/loss.py
    python benchmarks/loss.py --plot docs/images/loss_memory.png
    python benchmarks/loss.py --device cuda
    python benchmarks/loss.py --sweep 1 2 4 8 16

The default is 8192 rows (8 views of 1024 images, 2 of them global), 2048 keys, 512-d, float32. With
``--device cuda`` it is 32768 rows, 8192 keys, 4096-d, bfloat16 under autocast (also in the
baselines). Ours and the baseline "materialised" use the teacher's rows of the global views; the
baseline "released" uses those of all views. Times are medians of alternating runs. The bound is the
time of the matrix products that every implementation needs: those of student and teacher with the
keys, and that of the gradient.

Extra memory is the growth of the peak during one forward and backward pass, including the student's
gradient. On a CPU it is the resident size of a fresh process, after a run on a small input. On a
GPU it is the allocated memory.

``--sweep`` measures ours with several chunk sizes in turn. The budget for CPUs in
bam_mm/losses/chunked/arrangement.py was chosen in this way; the budget for GPUs has not been
measured.

``--plot`` varies the number of rows from 2048 to 65536 at 2048 keys. Since the keys are the global
views of the same images, it varies the number of views: 2 global views of 1024 images and 0 to 62
local ones.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.losses import bam_loss
from bam_mm.losses.chunked.arrangement import BUDGETS, budget
from benchmarks.baselines.materialised_loss import materialised_loss, released_way
from benchmarks.measuring import (
    add_json_option,
    alternate,
    extra_memory,
    in_fresh_process,
    seconds,
    write_json,
)

GLOBAL = 2
WAYS = {"ours": bam_loss, "materialised": materialised_loss, "released": released_way}


def make_inputs(
    views: int, images: int, dim: int, device: str, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw student and teacher rows of all views, noisy versions of the same features."""
    generator = torch.Generator(device).manual_seed(0)

    def noise(count: int) -> torch.Tensor:
        return torch.randn(count, images, dim, device=device, generator=generator)

    base = noise(1)
    return tuple(
        noise(views).mul_(level).add_(base).flatten(0, 1).to(dtype) for level in (0.7, 0.6)
    )


def step(way: str, student: torch.Tensor, teacher: torch.Tensor, views: int) -> tuple:
    """Run one implementation forward and backward.

    Returns:
        The loss and the gradient of the student's rows.
    """
    rows = teacher if way == "released" else teacher[: len(teacher) // views * GLOBAL]
    student = student.detach().requires_grad_()
    with torch.autocast(student.device.type, enabled=student.dtype == torch.bfloat16):
        loss = WAYS[way](student, rows, num_views=views, num_global=GLOBAL)
    loss.backward()
    if loss.is_cuda:
        torch.cuda.synchronize()
    return loss.detach(), student.grad


def bare_products(student: torch.Tensor, teacher: torch.Tensor, views: int) -> Callable:
    """Return a function that runs the matrix products that every implementation needs."""
    keys = teacher[: len(teacher) // views * GLOBAL]
    large = torch.empty(len(student), len(keys), device=keys.device, dtype=keys.dtype)
    small, gradient = torch.empty_like(large[: len(keys)]), torch.empty_like(student)

    def run() -> None:
        torch.mm(keys, keys.T, out=small)
        torch.mm(student, keys.T, out=large)
        torch.mm(large, keys, out=gradient)
        if keys.is_cuda:
            torch.cuda.synchronize()

    return run


def measure_memory(way: str, views: int, images: int, dim: int, device: str, dtype) -> float:
    """Return the extra memory of one step in MiB, after a step on a small input."""
    step(way, *make_inputs(4, 8, 16, device, dtype), 4)
    inputs = make_inputs(views, images, dim, device, dtype)
    if device == "cpu":
        return extra_memory(lambda: step(way, *inputs, views))
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(way, *inputs, views)
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def memory_of(way: str, args: argparse.Namespace, views: int, images: int) -> float:
    """Return the extra memory of one step in MiB, on a CPU that of a fresh process."""
    if args.device != "cpu":  # torch counts the tensors of a GPU, whatever else the process has.
        dtype = getattr(torch, args.dtype)
        return measure_memory(way, views, images, args.dim, args.device, dtype)
    options = [f"--{name}={getattr(args, name)}" for name in ("dim", "threads", "device", "dtype")]
    if args.chunk_mib:
        options.append(f"--chunk-mib={args.chunk_mib}")
    sizes = [f"--views={views}", f"--images={images}"]
    return in_fresh_process(__file__, f"--memory={way}", *sizes, *options)


def set_chunk(device: str, mib: float) -> None:
    """Set the size of a chunk of the attention matrix."""
    kind = torch.device(device)
    BUDGETS[kind.type] = replace(budget(kind), chunk=int(mib * 2**20))


def sweep_chunks(args: argparse.Namespace, run: Callable[[], object]) -> None:
    """Measure ours with several chunk sizes in turn and print the results."""
    times_of: dict[float, list[float]] = {mib: [] for mib in args.sweep}
    for _ in range(args.runs + 1):
        for mib, times in times_of.items():
            set_chunk(args.device, mib)
            times.append(seconds(run))
    for mib, times in times_of.items():
        args.chunk_mib = mib
        extra = memory_of("ours", args, args.views, args.images)
        print(
            f"chunk of {mib:g} MiB: {1e3 * statistics.median(times[1:]):.1f} ms, "
            f"extra {extra:.0f} MiB"
        )


def plot_memory(args: argparse.Namespace) -> None:
    """Measure, print and plot the extra memory over the number of rows."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    images = 1024
    counts = [GLOBAL * images * 2**n for n in range(6)]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for way in ("ours", "materialised"):
        extra = [memory_of(way, args, rows // images, images) for rows in counts]
        print(f"extra MiB, {way}: {dict(zip(counts, map(round, extra), strict=True))}")
        axes.plot(counts, extra, marker="o", label=way)
    features = [rows * args.dim * 4 / 2**20 for rows in counts]
    axes.plot(counts, features, color="grey", linestyle=":", label="the gradient alone")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=f"rows ({GLOBAL * images} keys, {args.dim}-d)",
        ylabel="extra memory, forward and backward (MiB)",
    )
    axes.set_xticks(counts, [f"{rows // 1024}k" for rows in counts], minor=False)
    axes.minorticks_off()
    axes.legend()
    figure.savefig(args.plot, dpi=110)


def parse() -> argparse.Namespace:
    """Parse the command line; the default sizes depend on the device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--images", type=int, help="default: 1024; 4096 on a GPU")
    parser.add_argument("--dim", type=int, help="default: 512; 4096 on a GPU")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), help="bfloat16 only (and by default) on a GPU"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", choices=tuple(WAYS), help="only print extra MiB")
    parser.add_argument("--chunk-mib", type=float, help="chunk size; default: that of the loss")
    parser.add_argument(
        "--sweep", type=float, nargs="+", metavar="MIB", help="measure only these chunk sizes"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="only plot memory over rows")
    add_json_option(parser)
    args = parser.parse_args()
    if args.json and (args.sweep or args.plot):
        parser.error("--json cannot be combined with --sweep or --plot: leave one of them out")
    large = args.device != "cpu"
    args.images = args.images or (4096 if large else 1024)
    args.dim = args.dim or (4096 if large else 512)
    args.dtype = args.dtype or ("bfloat16" if large else "float32")
    return args


def main() -> None:
    """Run the comparison and print the results."""
    args = parse()
    torch.set_num_threads(args.threads)
    dtype = getattr(torch, args.dtype)
    sizes = (args.views, args.images, args.dim, args.device, dtype)
    if args.chunk_mib:
        set_chunk(args.device, args.chunk_mib)
    if args.memory:
        print(measure_memory(args.memory, *sizes))
        return
    if args.plot:
        plot_memory(args)
        return

    student, teacher = make_inputs(*sizes)
    rows, keys = len(student), GLOBAL * args.images
    print(f"{rows} rows x {keys} keys x {args.dim}-d, {args.dtype}, {args.device}")
    if args.sweep:
        sweep_chunks(args, partial(step, "ours", student, teacher, args.views))
        return
    (value, gradient), (wanted, slope) = (
        step(way, student, teacher, args.views) for way in ("ours", "materialised")
    )
    off = (gradient - slope).abs().max() / slope.abs().max()
    print(f"difference: loss {(value - wanted).abs().item():.1e}, gradient {off.item():.1e} of max")
    del gradient, slope

    figures, ratios = {"rows": rows, "keys": keys, "dim": args.dim, "threads": args.threads}, {}
    run = {way: partial(step, way, student, teacher, args.views) for way in WAYS}
    products = bare_products(student, teacher, args.views)
    for way in ("materialised", "released"):
        fast, slow, ratios[f"time, {way}"] = alternate(run["ours"], run[way], runs=args.runs)
        figures |= {f"ours s, beside {way}": fast, f"{way} s": slow}
        print(
            f"time: ours {1e3 * fast:.0f} ms, {way} {1e3 * slow:.0f} ms, "
            f"ratio {ratios[f'time, {way}']:.2f}"
        )
    pairs = [(seconds(products), seconds(run["ours"])) for _ in range(args.runs + 1)][1:]
    bound = figures["bound s"] = statistics.median(b for b, _ in pairs)
    share = ratios["share of the bound"] = statistics.median(b / a for b, a in pairs)
    print(f"bound: the bare matrix products take {1e3 * bound:.0f} ms, {share:.2f} of ours")

    extra = {way: memory_of(way, args, args.views, args.images) for way in WAYS}
    for way in ("materialised", "released"):
        ratios[f"memory, {way}"] = extra[way] / extra["ours"]
        figures |= {"ours MiB": extra["ours"], f"{way} MiB": extra[way]}
        print(
            f"extra memory: ours {extra['ours']:.0f} MiB, {way} {extra[way]:.0f} MiB, "
            f"ratio {extra[way] / extra['ours']:.2f}"
        )
    write_json(args.json, ratios, figures)


if __name__ == "__main__":
    main()
