"""The command ``bam-mm``: pretrain with BAM, and evaluate any vision backbone."""

from __future__ import annotations

import difflib
import sys
from importlib import import_module

from bam_mm.errors import InputError
from bam_mm.launch.messages import run_tool
from bam_mm.version import __version__

COMMANDS = {
    "demo": ("demo", "pretrain a small ViT on generated images, score it, write a page"),
    "train": ("train", "train with any config"),
    "test": ("test", "evaluate a checkpoint with any config"),
    "benchmark": ("benchmark", "run the tasks of a suite for several models, write a page"),
    "convert": ("convert", "convert a checkpoint to the tensor names of timm or mmpretrain"),
    "check-data": ("check_data", "check that a data set is complete"),
    "toy-world": ("toy_world", "write generated images, scenes and videos"),
    "subset": ("subset", "choose a balanced subset of the training images"),
    "views": ("views", "draw the views that a pretraining config makes of images"),
    "features": ("features", "write the features of images to an array"),
    "attention": ("attention", "draw the attention of a backbone on your images"),
    "plot": ("plot", "plot the curves of pretraining runs"),
    "compare-videos": ("compare_videos", "compare a checkpoint on videos with bounds"),
    "segment-video": ("segment_video", "follow the objects of one mask through a video"),
    "doctor": ("doctor", "check the installation"),
    "exec": ("exec", "run another library's script with bam_mm imported before"),
}
"""Module in :mod:`bam_mm.cli` and description of each command."""


def main() -> None:
    """Run a command and exit with its code."""
    run_tool(_run)


def usage() -> str:
    """Return the list of commands."""
    lines = [f"  {name:15s} {about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join(
        ["usage: bam-mm COMMAND [ARGUMENTS]", "", *lines, "", "bam-mm COMMAND --help shows more"]
    )


def _run() -> int | None:
    name, arguments = (sys.argv[1], sys.argv[2:]) if len(sys.argv) > 1 else ("", [])
    if name in ("", "-h", "--help"):
        print(usage())
        return 0 if name else 2
    if name == "--version":
        print(f"bam-mm {__version__}")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=2) or COMMANDS
        raise InputError(f"bam-mm {name}: no such command; choose one of {', '.join(close)}")
    # argparse takes the program's name from here.
    sys.argv = [f"bam-mm {name}", *arguments]
    return import_module(f"bam_mm.cli.{COMMANDS[name][0]}").main()
