"""Write the toy world: generated images, scenes and videos for all tasks of the toy suite."""

from __future__ import annotations

import argparse

from bam_mm.launch.arguments import seed


def main() -> None:
    """Write the toy world."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", help="output folder; replaces a toy world of another seed or scale")
    parser.add_argument(
        "--seed", type=seed, default=0, help="random seed; the same seed writes identical files"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the number of images")
    args = parser.parse_args()
    from bam_mm.data.toy import make_world

    manifest = make_world(args.out, seed=args.seed, scale=args.scale)
    print(f"{args.out}: {manifest['written']}")
