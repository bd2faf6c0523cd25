"""Code shared by the command-line tools: configs, runners and error messages."""

from bam_mm.launch.messages import run_tool

__all__ = ["run_tool"]
