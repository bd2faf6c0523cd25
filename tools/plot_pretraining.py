"""Draw the curves of pretraining runs: loss, entropies (paper Fig. 3), feature spread, kNN."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.launch import run_tool


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dirs", nargs="+", help="NAME=FOLDER or FOLDER of each run")
    parser.add_argument("--out", default="pretraining.png", help="file to write")
    parser.add_argument("--until", type=int, help="last iteration to draw")
    args = parser.parse_args()
    from bam_mm.benchmark.figures import plot_runs
    from bam_mm.benchmark.training_log import read_scalars

    runs = {}
    for entry in args.work_dirs:
        name, _, folder = entry.rpartition("=")
        runs[name or Path(folder).name] = read_scalars(folder)
    print(plot_runs(runs, args.out, until=args.until))


if __name__ == "__main__":
    run_tool(main)
