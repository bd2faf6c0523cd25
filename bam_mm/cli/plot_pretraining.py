"""Draw pretraining: curves of runs (loss, entropies as in Fig. 3, spread, kNN), or similarities.

With --similarities CONFIG CHECKPOINT: the paper's Fig. 1, how similar two views of one image, of
one class, and any others are, before and after training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import DictAction


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work_dirs", nargs="*", help="NAME=FOLDER or FOLDER of each run")
    parser.add_argument("--out", default="pretraining.png", help="file to write")
    parser.add_argument("--until", type=int, help="last iteration to draw")
    parser.add_argument("--similarities", nargs=2, metavar=("CONFIG", "CHECKPOINT"))
    parser.add_argument("--num", type=int, default=1000, help="images whose similarities are drawn")
    parser.add_argument("--branch", choices=["teacher", "student"], default="teacher")
    parser.add_argument("--feature", choices=["projector", "backbone"], default="projector")
    parser.add_argument("--seed", type=int, default=0, help="of images, views and random weights")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="as of tools/train.py")
    args = parser.parse_args()
    if bool(args.work_dirs) == bool(args.similarities):
        parser.error("name the folders of runs, or --similarities CONFIG CHECKPOINT")
    print(draw_similarities(args) if args.similarities else draw_curves(args))


def draw_similarities(args: argparse.Namespace) -> Path:
    """Draw Fig. 1."""
    from bam_mm.figures.similarities import measure_similarities, plot_similarities
    from bam_mm.launch.config import load_config

    path, checkpoint = args.similarities
    histograms = measure_similarities(
        load_config(path, args.cfg_options),
        checkpoint,
        count=args.num,
        branch=args.branch,
        feature=args.feature,
        seed=args.seed,
    )
    return plot_similarities(histograms, args.out)


def draw_curves(args: argparse.Namespace) -> Path:
    """Draw what runs logged."""
    from bam_mm.figures.curves import plot_runs, read_scalars

    runs = {}
    for entry in args.work_dirs:
        name, _, folder = entry.rpartition("=")
        runs[name or Path(folder).name] = read_scalars(folder)
    return plot_runs(runs, args.out, until=args.until)
