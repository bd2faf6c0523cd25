"""Draw what the model sees: the views of training images, and where their crops lie."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="a config of configs/pretrain/")
    parser.add_argument("--num", type=int, default=6, help="images, one a row")
    parser.add_argument("--out", default="views.png", help="file to write")
    parser.add_argument("--seed", type=int, default=0, help="of images, crops and augmentations")
    parser.add_argument("--boxes", metavar="CHECKPOINT", help="use its ContrastiveCrop boxes")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="as of tools/train.py")
    args = parser.parse_args()
    from bam_mm.figures.views import TrainingViews, plot_views
    from bam_mm.launch.config import load_config

    views = TrainingViews(
        load_config(args.config, args.cfg_options), seed=args.seed, boxes=args.boxes
    )
    indices = views.choose(args.num, seed=args.seed)
    print(plot_views(list(views.look(indices)), views.layout, args.out))
