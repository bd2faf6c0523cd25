"""Write a random, class-balanced list of training images for semi-supervised training."""

from __future__ import annotations

import argparse

from bam_mm.launch.arguments import seed


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_root", help="data set folder with images in train/<class>/<image>")
    parser.add_argument(
        "--percent", type=float, required=True, help="percentage of the images, such as 1 or 10"
    )
    parser.add_argument("--seed", type=seed, default=0, help="random seed")
    parser.add_argument("--split", default="train", help="split to choose from")
    parser.add_argument("--out", help="output folder (default: DATA_ROOT/subsets)")
    args = parser.parse_args()
    from bam_mm.data.subsets import write_subset

    path, number = write_subset(
        args.data_root, percent=args.percent, seed=args.seed, split=args.split, out=args.out
    )
    print(f"{path}: {number} images")
