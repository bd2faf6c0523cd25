"""Plot the training curves of pretraining runs (loss, entropies, feature spread, kNN accuracy).

With --against NAME, draw them over reference curves, and print where each run stands. With
--save-reference NAME, make reference curves of finished runs of a config with different seeds.

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
        "work_dirs",
        nargs="*",
        help="work folder of each run, as NAME=FOLDER or FOLDER; a name has no '/', so that a "
        "folder may have '=' in its name (./lr=0.1)",
    )
    parser.add_argument("--out", default="pretraining.png", help="output image file")
    parser.add_argument("--until", type=int, help="last iteration to plot")
    parser.add_argument(
        "--against",
        nargs="+",
        metavar="NAME",
        help="reference curves of the package, or .json files of --save-reference",
    )
    parser.add_argument(
        "--save-reference",
        metavar="NAME",
        help="write reference curves of the runs, instead of a figure: a .json file, or a name for "
        "a file in the package",
    )
    parser.add_argument("--title", help="title of the reference curves")
    parser.add_argument(
        "--dataset", help="name of the training set of the reference curves (default: its folder)"
    )
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
    if args.similarities and (args.against or args.save_reference):
        parser.error("--against and --save-reference need work folders, not --similarities")
    if args.against and args.save_reference:
        parser.error("pass either --against or --save-reference")
    if (args.title or args.dataset) and not args.save_reference:
        parser.error("--title and --dataset belong to --save-reference")
    if args.save_reference:
        print(save_reference(args))
        return
    from bam_mm.launch.work_folder import PICTURES, check_output

    check_output(args.out, "--out", PICTURES)
    if args.similarities:
        print(draw_similarities(args))
    else:
        print(draw_against(args) if args.against else draw_curves(args))


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

    runs = {name or Path(folder).name: read_scalars(folder) for name, folder in named(args)}
    return plot_runs(runs, args.out, until=args.until)


def draw_against(args: argparse.Namespace) -> Path:
    """Draw the runs over reference curves, print where they stand, and return the figure's path."""
    from bam_mm.figures.against_references import compare, plot_against
    from bam_mm.figures.recorded_runs import read_run
    from bam_mm.hooks.reference_curves import read_reference

    short = [Path(name).stem if name.endswith(".json") else name for name in args.against]
    labels = short if len(set(short)) == len(short) else args.against
    references = {
        label: read_reference(name) for label, name in zip(labels, args.against, strict=True)
    }
    runs = [read_run(folder, name) for name, folder in named(args)]
    path = plot_against(runs, references, args.out, until=args.until)
    for run in runs:
        for name, reference in references.items():
            print("\n".join(compare(run, name, reference)))
    return path


def save_reference(args: argparse.Namespace) -> Path:
    """Write reference curves of the runs and return the file's path."""
    from bam_mm.figures.recorded_runs import read_run, reference_of
    from bam_mm.hooks.reference_curves import reference_path, write_reference
    from bam_mm.launch.work_folder import check_output

    check_output(reference_path(args.save_reference), "--save-reference")
    runs = [read_run(folder, name) for name, folder in named(args)]
    curves = reference_of(runs, title=args.title, dataset=args.dataset)
    return write_reference(curves, args.save_reference)


def named(args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the name, which may be empty, and the work folder of each run.

    A name ends at the last '=' before the first '/': folders such as ``work_dirs/lr=0.1`` have
    none.
    """
    found = []
    for entry in args.work_dirs:
        first, slash, rest = entry.partition("/")
        name, _, start = first.rpartition("=")
        found.append((name, start + slash + rest))
    return found
