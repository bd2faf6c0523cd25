"""Write the features of images to a file: an array, and the names of its rows."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.cli.features import main
from bam_mm.launch import run_tool

if __name__ == "__main__":
    run_tool(main)
