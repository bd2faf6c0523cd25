"""Write the toy world: images, and whatever else the suite's tasks read, from one seed."""

from __future__ import annotations

import argparse


def main() -> None:
    """Write the world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="folder to write to; it may hold an older toy world")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same bytes")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of images")
    args = parser.parse_args()
    from bam_mm.data.toy import make_world

    manifest = make_world(args.out, seed=args.seed, scale=args.scale)
    print(f"{args.out}: {manifest['written']}")
