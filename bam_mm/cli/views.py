"""Draw the views of training images and the positions of their crops."""

from __future__ import annotations

import argparse

from bam_mm.launch.arguments import add_options_argument, seed


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "config",
        help="pretraining config: a file, or a name in the folder pretrain of the package",
    )
    parser.add_argument("--num", type=int, default=6, help="number of images, one per row")
    parser.add_argument("--out", default="views.png", help="output image file")
    parser.add_argument(
        "--seed", type=seed, default=0, help="random seed of images, crops and augmentations"
    )
    parser.add_argument(
        "--boxes", metavar="CHECKPOINT", help="use the ContrastiveCrop boxes of this checkpoint"
    )
    add_options_argument(parser, like="train")
    args = parser.parse_args()
    from bam_mm.figures.views import TrainingViews, plot_views
    from bam_mm.launch.config import load_config
    from bam_mm.launch.work_folder import PICTURES, check_output

    check_output(args.out, "--out", PICTURES)
    views = TrainingViews(
        load_config(args.config, args.cfg_options), seed=args.seed, boxes=args.boxes
    )
    indices = views.choose(args.num, seed=args.seed)
    print(plot_views(list(views.images(indices)), views.layout, args.out))
