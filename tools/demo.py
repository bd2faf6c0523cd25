"""A first result: make the toy world, pretrain a small ViT with BAM, show what it learned."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bam_mm.launch import run_tool


def main() -> None:
    """Run the demo for one or several seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run each")
    parser.add_argument("--out", type=Path, default=ROOT / "work_dirs/demo", help="work folder")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="folder of toy worlds")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the toy world")
    parser.add_argument("--cfg-options", nargs="+", default=[], help="for the training")
    args = parser.parse_args()
    from bam_mm.benchmark.first_result import print_table, run_demo

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


if __name__ == "__main__":
    run_tool(main)
