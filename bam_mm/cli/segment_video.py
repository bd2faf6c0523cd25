"""Follow the objects of one mask through a video, with the features of a frozen backbone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bam_mm.launch.arguments import add_model_argument, add_options_argument, seed


def main() -> None:
    """Write a mask for each frame, and a video that shows them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", help="video file (MP4, AVI, GIF, ...) or folder of frames")
    parser.add_argument(
        "mask", help="image of the objects in one frame: one id a pixel, 0 for the background"
    )
    add_model_argument(parser)
    parser.add_argument("--out", type=Path, default=Path("video_masks"), help="output folder")
    parser.add_argument(
        "--frame",
        type=int,
        help="number of the frame that the mask shows, from 0 (default: the frame of the folder "
        "with the name of the mask, otherwise the first)",
    )
    parser.add_argument(
        "--config", help="config in configs/vos (default: DINO's protocol for the kind of backbone)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of random weights")
    add_options_argument(parser, like="test")
    args = parser.parse_args()
    from bam_mm.suite.segment_video import segment_video

    result = segment_video(
        args.video,
        args.mask,
        args.out,
        model=args.model,
        frame=args.frame,
        config=args.config,
        options=args.cfg_options,
        seed=args.seed,
        trust=args.trust_checkpoint,
    )
    # The standard output lists the files.
    print(*result.notes, sep="\n", file=sys.stderr)
    print(result.masks, result.overlay, sep="\n")
