"""A first result: make the toy world, pretrain a small ViT with BAM, score it in every task."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bam_mm.launch import run_tool


def main() -> int:
    """Run the demo for one or several seeds; 2 where a task has no result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each")
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs/demo", help="work folder")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="folder of toy worlds")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the toy world")
    parser.add_argument("--cfg-options", nargs="+", default=[], help="for the training")
    parser.add_argument(
        "--tasks",
        nargs="*",
        help="of the toy suite, with seed 0 (default: all; no name: none)",
    )
    parser.add_argument("--limit", type=int, help="images a data set in these tasks, for a try")
    args = parser.parse_args()
    from bam_mm.benchmark.first_result import print_table, run_demo

    if args.tasks:
        # Not only after the pretraining.
        from bam_mm.benchmark.suite.definitions import load_suite

        load_suite("toy").choose(args.tasks)
    results = [
        run_demo(
            seed,
            ROOT,
            data=args.data,
            out=args.out / f"seed{seed}",
            scale=args.scale,
            options=tuple(args.cfg_options),
        )
        for seed in args.seeds
    ]
    print_table(results)
    if 0 not in args.seeds or args.tasks == []:
        return 0
    from bam_mm.benchmark.demo_suite import run_suite
    from bam_mm.benchmark.first_result import last_checkpoint

    missing = run_suite(
        last_checkpoint(args.out / "seed0"),
        data=args.data,
        out=args.out / "suite",
        tasks=args.tasks,
        limit=args.limit,
        say=lambda line: print(line, flush=True),
    )
    return 2 if missing else 0


if __name__ == "__main__":
    run_tool(main)
