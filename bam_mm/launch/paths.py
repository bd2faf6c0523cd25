"""Where the package's configs are, how a config is found by name, and how a command is started."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from bam_mm.errors import InputError, listing
from bam_mm.registry import CONFIG_SCOPE, CONFIGS

PACKAGE = Path(__file__).resolve().parents[1]
"""Folder of the package."""


def find_config(name: str | Path, *, near: Path | None = None) -> Path:
    """Find a config file by its path or by its name in the package.

    Args:
        name: Path of a file; or a name in the package's ``configs/`` folder, with or without
            ``bam_mm::``, ``configs/``, its folder and ``.py``, such as
            ``pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy``. A file at this path comes first, except
            with ``bam_mm::``.
        near: Folder that relative paths may also start from.

    Returns:
        Path of an existing file.

    Raises:
        InputError: If there is no such file or name, or several configs have this name.
    """
    text = str(name)
    path = Path(text).expanduser()
    if not text.startswith(CONFIG_SCOPE):
        for candidate in [path] if near is None else [path, near / path]:
            if candidate.is_file():
                return candidate
    short = text.removeprefix(CONFIG_SCOPE).removeprefix("configs/").removesuffix(".py")
    known = config_names()
    if short in known:
        return CONFIGS / f"{short}.py"
    same = [each for each in known if Path(each).name == short]
    if len(same) == 1:
        return CONFIGS / f"{same[0]}.py"
    if same:
        raise InputError(f"config {text}: several have this name; add the folder: {listing(same)}")
    close = difflib.get_close_matches(short, known, n=3, cutoff=0.5)
    close += difflib.get_close_matches(Path(short).name, [Path(k).name for k in known], n=2)
    remedy = (
        f"did you mean {listing(dict.fromkeys(close))}?" if close else f"choose one of {CONFIGS}"
    )
    raise InputError(
        f"config {text} does not exist, neither as a file nor in the package: {remedy}"
    )


def config_names() -> list[str]:
    """Return the names of the package's configs, such as ``cls/vit-toy-p8_knn_toy``."""
    paths = (path.relative_to(CONFIGS) for path in sorted(CONFIGS.glob("*/*.py")))
    return [
        str(path.with_suffix("")) for path in paths if path.parts[0] not in ("_base_", "suites")
    ]


def module_command(*arguments: str) -> list[str]:
    """Return the command line that runs a command of ``bam-mm`` with this interpreter."""
    return [sys.executable, "-u", "-m", "bam_mm", *arguments]


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child process that must import this very package.

    A checkout whose ``tools/*.py`` are run without installation is not on the child's path.

    Args:
        extra: Variables to set.
    """
    environment = {**os.environ, **(extra or {})}
    if PACKAGE.parent.name not in ("site-packages", "dist-packages"):
        paths = [str(PACKAGE.parent), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return environment


def shown(path: Path) -> str:
    """Return a path for display: a config of the package as ``configs/FOLDER/NAME.py``."""
    return f"configs/{path.relative_to(CONFIGS)}" if path.is_relative_to(CONFIGS) else str(path)
