"""mmcv's operators where mmcv was installed without them: ``nms`` and ``roi_align`` of torchvision.

mmdet and mmseg import ``mmcv.ops``, and mmcv.ops imports the compiled extension ``mmcv._ext``,
which takes a compiler and minutes to build. ``import bam_mm`` installs a finder for that one name:
a working extension is used as it is, and otherwise a stand-in takes its place. Import bam_mm before
mmcv.ops, mmdet or mmseg.
"""

from __future__ import annotations

import sys
from importlib import import_module as _import_module

from bam_mm.ops.finder import OperatorFinder, OperatorLoader

__all__ = ["backend", "install", "reason"]


def install() -> None:
    """Put the finder of ``mmcv._ext`` on ``sys.meta_path``, once however often this is called."""
    if not any(isinstance(finder, OperatorFinder) for finder in sys.meta_path):
        # It comes first: the ordinary finders would raise where the extension cannot be loaded.
        sys.meta_path.insert(0, OperatorFinder())


def backend() -> str:
    """Return whose ``nms`` and ``roi_align`` are in use: ``'mmcv'`` or ``'torchvision'``.

    This imports ``mmcv._ext`` at the first call.

    Raises:
        ModuleNotFoundError: mmcv is not installed.
    """
    return "torchvision" if reason() else "mmcv"


def reason() -> str:
    """Return why torchvision's operators are used; an empty string if mmcv's own are.

    Raises:
        ModuleNotFoundError: mmcv is not installed.
    """
    loader = getattr(_import_module("mmcv._ext").__spec__, "loader", None)
    return loader.reason if isinstance(loader, OperatorLoader) else ""
