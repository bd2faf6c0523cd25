"""Plot the training curves of pretraining runs (loss, entropies, feature spread, kNN accuracy).

With --similarities CONFIG CHECKPOINT, plot the paper's Fig. 1 instead: histograms of the similarity
of views of the same image, of the same class and of different classes, before and after training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bam_mm.launch.arguments import add_options_argument, seed


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "work_dirs", nargs="*", help="work folder of each run, as NAME=FOLDER or FOLDER"
    )
    parser.add_argument("--out", default="pretraining.png", help="output image file")
    parser.add_argument("--until", type=int, help="last iteration to plot")
    parser.add_argument(
        "--similarities",
        nargs=2,
        metavar=("CONFIG", "CHECKPOINT"),
        help="plot the similarities of views; the options below apply only to this plot",
    )
    parser.add_argument("--num", type=int, default=1000, help="number of images")
    parser.add_argument(
        "--branch", choices=["teacher", "student"], default="teacher", help="network to use"
    )
    parser.add_argument(
        "--feature",
        choices=["projector", "backbone"],
        default="projector",
        help="output to compare: of the projector, as in the loss, or of the backbone",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="random seed of images, views and random weights"
    )
    add_options_argument(parser, like="train")
    args = parser.parse_args()
    if bool(args.work_dirs) == bool(args.similarities):
        parser.error("pass either work folders or --similarities CONFIG CHECKPOINT")
    from bam_mm.launch.work_folder import PICTURES, check_output

    check_output(args.out, "--out", PICTURES)
    print(draw_similarities(args) if args.similarities else draw_curves(args))


def draw_similarities(args: argparse.Namespace) -> Path:
    """Draw the histograms of similarities and return the path of the figure."""
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
    """Draw the training curves and return the path of the figure."""
    from bam_mm.figures.curves import plot_runs, read_scalars

    runs = {}
    for entry in args.work_dirs:
        name, _, folder = entry.rpartition("=")
        runs[name or Path(folder).name] = read_scalars(folder)
    return plot_runs(runs, args.out, until=args.until)
