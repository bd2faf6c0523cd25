"""Score a checkpoint on videos between its bounds: truth, named objects, random weights."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmengine.config import DictAction


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config of label propagation, configs/vos/")
    parser.add_argument("checkpoint", help="checkpoint file; all of its backbone must fit")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    parser.add_argument("--out", help="write the scores to this JSON file")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, help="as of tools/test.py")
    args = parser.parse_args()
    from bam_mm.launch.config import load_config
    from bam_mm.protocols.video_bounds import compare_features, print_comparison

    config = load_config(args.config, args.cfg_options)
    scores = compare_features(config, args.checkpoint, seed=args.seed)
    print_comparison(scores)
    if args.out:
        Path(args.out).write_text(json.dumps(scores, indent=2) + "\n")
