"""What the command-line tools share: configs, the runner, and messages for people."""

from bam_mm.launch.messages import run_tool

__all__ = ["run_tool"]
