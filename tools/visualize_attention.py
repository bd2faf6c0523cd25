"""Draw where a backbone looks on your own images: attention by head, or feature saliency."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.cli.visualize_attention import main
from bam_mm.launch import run_tool

if __name__ == "__main__":
    run_tool(main)
