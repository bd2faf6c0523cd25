"""Write the toy world: generated images, scenes and videos for all tasks of the toy suite."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.cli.toy_world import main
from bam_mm.launch import run_tool

if __name__ == "__main__":
    run_tool(main)
