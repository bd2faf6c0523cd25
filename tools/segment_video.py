"""Follow the objects of one mask through a video, with the features of a frozen backbone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.cli.segment_video import main
from bam_mm.launch import run_tool

if __name__ == "__main__":
    run_tool(main)
