"""Arguments shared by the tools. This module must not import torch, to keep ``--help`` fast."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError

from bam_mm.launch.option_text import FLAG, OPTIONS_HELP, OptionsAction
from bam_mm.registry import FORMS


def add_common_arguments(parser: ArgumentParser) -> None:
    """Add the arguments that training and testing share, with the names of mmpretrain's tools."""
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="folder for logs and checkpoints")
    add_options_argument(parser)
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="how the processes are started",
    )
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help="set by torch's launcher"
    )
    add_vis_argument(parser)


def add_options_argument(parser: ArgumentParser, like: str = "") -> None:
    """Add the option that overrides settings of the config.

    Args:
        parser: Parser of a command.
        like: Command whose help describes the option, ``""`` for a full description.
    """
    text = f"same as in bam-mm {like}" if like else OPTIONS_HELP
    parser.add_argument(FLAG, nargs="+", action=OptionsAction, help=text)


def add_model_argument(parser: ArgumentParser) -> None:
    """Add the backbone by its short name, and the flag that trusts its checkpoint."""
    parser.add_argument("--model", required=True, help=f"backbone: {FORMS}")
    add_trust_argument(parser, like="test")


def seed(text: str) -> int:
    """Read a random seed from the command line.

    Args:
        text: Argument.

    Raises:
        ArgumentTypeError: If it is no seed that every random generator takes.
    """
    if not text.isascii() or not text.isdecimal() or int(text) >= 2**32:
        raise ArgumentTypeError(f"{text!r} is no seed: write an integer from 0 to 2^32 - 1")
    return int(text)


def add_vis_argument(parser: ArgumentParser) -> None:
    """Add the option that shows a run in TensorBoard, Weights & Biases or another tracker."""
    parser.add_argument(
        "--vis",
        action="append",
        default=[],
        metavar="BACKEND",
        help="also send curves and pictures to tensorboard, wandb or another backend of mmengine "
        "(mlflow, clearml, neptune, dvclive, aim); repeat the option for several",
    )


def add_trust_argument(parser: ArgumentParser, like: str = "") -> None:
    """Add the flag with which the user allows code in a checkpoint to run.

    Args:
        parser: Parser of a command.
        like: Command whose help describes the flag, ``""`` for a full description.
    """
    full = (
        "run code from the checkpoint if it cannot be read without; only for files whose author "
        "you trust"
    )
    text = f"same as in bam-mm {like}" if like else full
    parser.add_argument("--trust-checkpoint", action="store_true", help=text)
