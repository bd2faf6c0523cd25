"""Evaluate a checkpoint with any config."""

from __future__ import annotations

import argparse
import os

from bam_mm.launch.arguments import add_common_arguments, add_trust_argument


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        "checkpoint", help="checkpoint file; its tensors must match the model exactly"
    )
    add_trust_argument(parser)
    parser.add_argument("--out", help="JSON file for the metrics")
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    """Run the evaluation."""
    args = parse_args()
    from bam_mm.launch.config import load_config
    from bam_mm.launch.testing import test

    test(load_config(args.config, args.cfg_options), args)
