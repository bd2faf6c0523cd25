"""Write a list of labelled images for semi-supervised training: seeded, the same number a class."""

from __future__ import annotations

import argparse


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data_root", help="folder of train/<class>/<image>")
    parser.add_argument("--percent", type=float, required=True, help="of the images, 1 or 10")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same list")
    parser.add_argument("--split", default="train", help="of which split")
    parser.add_argument("--out", help="folder to write to (default: DATA_ROOT/subsets)")
    args = parser.parse_args()
    from bam_mm.data.subsets import write_subset

    path, number = write_subset(
        args.data_root, percent=args.percent, seed=args.seed, split=args.split, out=args.out
    )
    print(f"{path}: {number} images")
