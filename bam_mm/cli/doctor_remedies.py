"""The distributions that the doctor looks for, and the commands that install them.

Standard library only, and nothing of bam_mm: the doctor reads this file even if bam_mm cannot be
imported.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import metadata
from pathlib import Path

FORKS = {
    "mmengine": ("onedl-mmengine", "0.10.12"),
    "mmcv": ("onedl-mmcv", "2.3.6"),
    "mmpretrain": ("onedl-mmpretrain", "1.3.6"),
    "mmdet": ("onedl-mmdetection", "3.5.1"),
    "mmseg": ("onedl-mmsegmentation", "1.4.2"),
}
"""Distribution and tested version of each package."""

UPSTREAM = {
    "mmengine": ("mmengine", "0.10.7"),
    "mmcv": ("mmcv", "2.1.0"),
    "mmpretrain": ("mmpretrain", "1.2.0"),
    "mmdet": ("mmdet", "3.3.0"),
    "mmseg": ("mmsegmentation", "1.2.2"),
}

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = (ROOT / "Makefile").is_file() and (ROOT / "constraints.txt").is_file()
OWN = CHECKOUT and Path(sys.prefix).resolve() == ROOT / ".venv"
"""Whether this Python is the one that ``make install`` installs into."""

ENVIRONMENT = sys.prefix != sys.base_prefix
"""Whether this Python belongs to a virtual environment."""

INSTALLED = (ROOT / ".venv/.installed").is_file()
"""Whether ``make install`` has run, and would do nothing if it were called again."""

HERE = Path.cwd() == ROOT
PROJECT, CONSTRAINTS = (".", "constraints.txt") if HERE else (ROOT, ROOT / "constraints.txt")
MAKE = "make" if HERE else f"make -C {ROOT}"
PIP = f"{sys.executable} -m pip"


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def folder_of(package: str) -> Path | None:
    """Return the folder that a package would be imported from, None if there is none."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def installed_folder(distribution: str, package: str) -> Path | None:
    """Return the folder that a distribution has installed a package in.

    Returns:
        The folder; None if it is not there, as after ``pip install -e``.
    """
    try:
        folder = Path(str(metadata.distribution(distribution).locate_file(package))).resolve()
    except metadata.PackageNotFoundError:
        return None
    return folder if folder.is_dir() else None


def pip_install(arguments: str) -> str:
    """Return the command that installs something in the tested versions."""
    if CHECKOUT:
        return f"{PIP} install -c {CONSTRAINTS} {arguments}"
    return f"{PIP} install -c constraints.txt {arguments}  # in a checkout of the project"


def install(extra: str = "onedl") -> str:
    """Return the command that installs the project and everything that it needs."""
    # make installs into .venv, which is no help for another environment.
    if CHECKOUT and extra == "onedl" and not INSTALLED and (OWN or not ENVIRONMENT):
        return f"{MAKE} install"
    return pip_install(_project(extra))


def replace_all(distributions: list[str]) -> str:
    """Return the command that replaces distributions by those that the project needs."""
    command = pip_install(_project("onedl"))
    return f"{PIP} uninstall -y {' '.join(distributions)} && {command}"


def compile_operators() -> str:
    """Return the command that compiles mmcv's operators for the installed torch."""
    if OWN and _mmcv() == "onedl-mmcv":
        return f"{MAKE} ops"
    # Without build isolation, pip does not install what building needs.
    tools = f"{PIP} install setuptools wheel ninja"
    return f"{tools} && MMCV_WITH_OPS=1 " + pip_install(
        f"--no-build-isolation --no-deps --no-cache-dir --force-reinstall {_mmcv()}"
    )


def remove_operators() -> str:
    """Return the command that installs mmcv without compiled operators."""
    arguments = f"--no-deps --no-cache-dir --force-reinstall {_mmcv()}"
    return f"MMCV_WITH_OPS=0 {pip_install(arguments)}"


def _project(extra: str) -> str:
    return f"{'-e ' if CHECKOUT else ''}'{PROJECT if CHECKOUT else '.'}[{extra}]'"


def _mmcv() -> str:
    return "mmcv" if version_of("mmcv") else "onedl-mmcv"
