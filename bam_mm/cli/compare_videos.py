"""Compare a checkpoint on videos with bounds: ground truth, named objects and random weights."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bam_mm.launch.arguments import add_options_argument, seed


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="label propagation config file, see configs/vos/")
    parser.add_argument(
        "checkpoint", help="checkpoint file; its backbone must match the config exactly"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of the random weights")
    parser.add_argument("--out", help="JSON file for the scores")
    add_options_argument(parser, like="test")
    args = parser.parse_args()
    from bam_mm.launch.config import load_config
    from bam_mm.launch.work_folder import check_output
    from bam_mm.protocols.video_bounds import compare_features, print_comparison

    if args.out:
        check_output(args.out, "--out")
    config = load_config(args.config, args.cfg_options)
    scores = compare_features(config, args.checkpoint, seed=args.seed)
    print_comparison(scores)
    if args.out:
        Path(args.out).write_text(json.dumps(scores, indent=2) + "\n")
