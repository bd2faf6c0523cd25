"""Train a model with any config."""

from __future__ import annotations

import argparse
import os

from bam_mm.launch.arguments import add_common_arguments, add_trust_argument


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_common_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        help="resume from this checkpoint, or without a path from the latest one in the work "
        "folder",
    )
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="resume even if settings that change the results differ from those of the checkpoint",
    )
    parser.add_argument("--amp", action="store_true", help="use automatic mixed precision")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate and its schedule by the actual batch size divided by "
        "auto_scale_lr.base_batch_size",
    )
    add_trust_argument(parser)
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args


def main() -> None:
    """Run the training."""
    args = parse_args()
    from bam_mm.launch.config import load_config
    from bam_mm.launch.training import train

    train(load_config(args.config, args.cfg_options), args)
