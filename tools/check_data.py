"""Check that a data set is complete, and print a fix for each fault."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.cli.check_data import main
from bam_mm.launch import run_tool

if __name__ == "__main__":
    run_tool(main)
