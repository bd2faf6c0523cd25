"""Convert a checkpoint's backbone to the tensor names of timm or mmpretrain."""

from __future__ import annotations

import argparse

from bam_mm.launch.arguments import add_trust_argument


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "source",
        metavar="SRC",
        help="checkpoint file of BAM, mmpretrain, timm, Hugging Face, DINO, MoCo v3, MAE, ...",
    )
    parser.add_argument(
        "target", metavar="DST", help="output file; *.safetensors writes that format"
    )
    parser.add_argument(
        "--to", choices=["mmpretrain", "timm"], required=True, help="tensor names of the output"
    )
    parser.add_argument(
        "--branch",
        choices=["teacher", "student"],
        default="teacher",
        help="backbone to convert if the file has both; a moving average is the teacher",
    )
    parser.add_argument(
        "--model",
        help="check that the result fits this model: timm:NAME, a name from mmpretrain's index, or "
        "a config file (its model.backbone)",
    )
    add_trust_argument(parser)
    return parser.parse_args()


def main() -> None:
    """Convert the checkpoint and print a report."""
    args = parse_args()
    from bam_mm.checkpoint import convert_checkpoint
    from bam_mm.launch.backbones import backbone_to_prove
    from bam_mm.launch.work_folder import check_output

    check_output(args.target, "DST")

    report = convert_checkpoint(
        args.source,
        args.target,
        to=args.to,
        branch=args.branch,
        model=backbone_to_prove(args.model) if args.model else None,
        trust=args.trust_checkpoint,
    )
    print(report)
