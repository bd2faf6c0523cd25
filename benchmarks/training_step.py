"""Time and memory of a pretraining step, compared with MoCo v3 and without each optimisation.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --backbone vit-base-p16 --batch 2 --runs 2
    python benchmarks/training_step.py --backbone resnet50 --batch 4

BAM uses two crops of 224 and six of 96 pixels. All variants use the same backbone and optimizer
(AdamW). MoCo v3 of mmpretrain only uses its two crops of 224 pixels, so compare it per token or per
operation. The variants take turns in one process on one model, and ratios are medians over the
turns. On one thread of a CPU, times are processor time, on which other work on the machine has
little effect. Extra memory is the growth of the peak during one step, including gradients: on a CPU
that of a fresh process for each variant, on a GPU that of the tensors, which torch counts. On a
GPU, the forward pass is in bfloat16 under autocast, and the model-FLOP utilisation is printed.
"""

import argparse
import contextlib
import copy
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# The libraries print messages when they are imported and for every weight that is initialised,
# which would appear between the results.
logging.disable(logging.INFO)
with contextlib.redirect_stdout(sys.stderr):
    from bam_mm.suite.pretraining_cost import clock
    from benchmarks.measuring import add_json_option, in_fresh_process, write_json
    from benchmarks.model_flops import measured_flops, peak_flops
    from benchmarks.training_step_parts import compare_parts
    from benchmarks.training_step_variants import NAMES, Bench, extra_mib, variants_of


@dataclass
class Timed:
    """Measurements of a variant.

    Attributes:
        flops: Number of floating-point operations in a step.
        seconds: Duration of the step in each turn.
    """

    flops: int
    seconds: list[float] = field(default_factory=list)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="vit-small-p16")
    parser.add_argument("--batch", type=int, default=4, help="images per step")
    parser.add_argument(
        "--crops",
        nargs="+",
        default=["2x224", "6x96"],
        help="number x side of the large crops, then of the small ones",
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="turns of all variants, after an untimed one"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="use float32 on a GPU, too")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--variants", nargs="+", choices=NAMES, help="default: all except compiled")
    chosen.add_argument("--compiled", action="store_true", help="all variants, including compiled")
    parser.add_argument(
        "--only", choices=("time", "memory", "parts"), help="measure only this part"
    )
    parser.add_argument("--memory", choices=NAMES, help="only print extra MiB of a variant")
    add_json_option(parser)
    args = parser.parse_args()
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return args


def measure_times(bench: Bench, names: list[str], runs: int) -> dict[str, Timed]:
    """Time the variants in turn, after one untimed step of each that counts its operations."""
    found = {name: Timed(bench.flops(name)) for name in names}
    if "compiled" in names:
        bench.step_of("compiled")()
    now = clock(bench.device)
    for _ in range(runs):
        for name in names:
            step = bench.step_of(name)
            start = now()
            step()
            found[name].seconds.append(now() - start)
    return found


def print_times(bench: Bench, found: dict[str, Timed]) -> tuple[dict, dict]:
    """Print a table of the times and return its ratios and figures."""
    ratios, figures = {}, {}
    bound = measured_flops(bench.device, bench.dtype)
    print(f"bound: {bound / 1e9:.0f} GFLOP/s in the product of two large matrices, {bench.dtype}")
    print(
        f"{'':24} {'s/step':>8} {'ratio':>6} {'images/s':>9} {'tokens/s':>9} {'TFLOP':>6} of bound"
    )
    ours = found["ours"]
    for name, timed in found.items():
        took, tokens = median(timed.seconds), bench.tokens(name)
        ratio = median(b / a for a, b in zip(ours.seconds, timed.seconds, strict=True))
        print(
            f"{name:24} {took:8.3f} {ratio:6.2f} {bench.batch / took:9.2f} {tokens / took:9.0f} "
            f"{timed.flops / 1e12:6.2f} {100 * timed.flops / took / bound:6.0f} %"
        )
        figures[name] = {"seconds": took, "tokens": tokens, "flops": timed.flops}
        if name != "ours":
            ratios[f"{name}: time"] = ratio
        if name == "mocov3":
            by = {
                "mocov3: time by token": bench.tokens("ours") / tokens,
                "mocov3: time by operation": ours.flops / timed.flops,
            }
            ratios |= {what: ratio * more for what, more in by.items()}
            print("".join(f"{'':24} {what}: {ratios[what]:.2f}\n" for what in by), end="")
    if bench.device == "cuda" and (peak := peak_flops()):
        for name in ("ours", "compiled"):
            if name in found:
                share = ours.flops / median(found[name].seconds) / peak[1]
                print(f"model-FLOP utilisation of {peak[0]}, {name}: {share:.1%} (target: 40 %)")
                figures[name]["utilisation"] = share
    return ratios, figures


def measure_memory(args: argparse.Namespace, names: list[str], bench: Bench) -> tuple[dict, dict]:
    """Print the extra memory of each variant and return ratios and figures."""
    same = ["--backbone", args.backbone, "--batch", args.batch, "--threads", args.threads]
    same += ["--device", args.device]
    same += ["--crops", *args.crops, *(["--float32"] if args.float32 else [])]
    extra: dict[str, float] = {}
    for name in names:
        if args.device == "cuda":
            extra[name] = extra_mib(name, bench)
        else:
            extra[name] = in_fresh_process(__file__, "--memory", name, *same)
        ratio = extra[name] / extra["ours"]
        print(f"extra memory {name:24} {extra[name]:7.0f} MiB, ratio {ratio:.2f}", flush=True)
    ratios = {f"{n}: memory": mib / extra["ours"] for n, mib in extra.items() if n != "ours"}
    return ratios, {"extra MiB": extra}


def main() -> None:
    """Run the comparisons and print the results."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    settings = dict(backbone=args.backbone, batch=args.batch, crops=args.crops, device=args.device)
    if args.memory:
        print(extra_mib(args.memory, Bench(**settings, float32=args.float32)))
        return
    wanted = args.variants or [
        name for name in variants_of(args.backbone) if args.compiled or name != "compiled"
    ]
    names = ["ours", *(name for name in wanted if name != "ours")]
    ratios: dict[str, float] = {}
    figures: dict[str, object] = copy.deepcopy(settings) | {"threads": args.threads}
    print(f"{args.backbone}, batch {args.batch}, {' '.join(args.crops)}, {args.threads} thread(s)")
    bench = Bench(**settings, float32=args.float32)
    if args.only != "memory":
        print(f"{bench.device_name}, {bench.dtype}, loss {bench.check()}")
        measured = []
        if args.only != "time":
            measured.append(compare_parts(bench))
        if args.only != "parts":
            measured.append(print_times(bench, measure_times(bench, names, args.runs)))
        for found in measured:
            ratios |= found[0]
            figures |= found[1]
        write_json(args.json, ratios, figures)  # A stop in the next part does not lose the times.
    if args.only in (None, "memory"):
        found = measure_memory(args, names, bench)
        ratios |= found[0]
        figures |= found[1]
    write_json(args.json, ratios, figures)


if __name__ == "__main__":
    main()
