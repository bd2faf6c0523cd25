"""Run a demo: make the toy world, pretrain a small ViT with BAM, score it in nine tasks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.cli.demo import main
from bam_mm.launch import run_tool

if __name__ == "__main__":
    run_tool(main)
