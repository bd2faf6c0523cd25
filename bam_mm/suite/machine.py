"""The environment of a run: package versions, git commit and hardware."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bam_mm.launch.paths import PACKAGE
from bam_mm.version import __version__

PACKAGES = (
    "torch", "torchvision", "numpy", "scikit-learn", "timm", "pillow",
    "onedl-mmengine", "onedl-mmcv", "onedl-mmpretrain", "onedl-mmdetection",
    "onedl-mmsegmentation", "mmengine", "mmcv", "mmpretrain", "mmdet", "mmsegmentation",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the installed :data:`PACKAGES`."""
    found = {"bam-mm": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> dict[str, Any] | None:
    """Return the checkout's commit and whether its files were changed.

    Returns:
        None for an installed package, also where its folder lies in another repository, and without
        git.
    """
    checkout = PACKAGE.parent
    if not (checkout / ".git").exists():
        return None
    outputs = []
    for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            outputs.append(
                subprocess.run(
                    ["git", "-C", str(checkout), *command],
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=30,
                ).stdout.strip()
            )
        except (OSError, subprocess.SubprocessError):
            return None
    return {"commit": outputs[0], "changed": bool(outputs[1])}


def hardware() -> dict[str, Any]:
    """Return the operating system, the processor and the number of usable cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": platform.platform(), "cpu": _cpu(), "cores": cores}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
