"""Write a list of labelled images for semi-supervised training: seeded, the same number a class."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.cli.make_subset import main
from bam_mm.launch import run_tool

if __name__ == "__main__":
    run_tool(main)
