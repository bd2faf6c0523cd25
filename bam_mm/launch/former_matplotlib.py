"""Calls of matplotlib as mmpretrain's ``browse_dataset`` writes them."""

from __future__ import annotations

from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

MODULE = "_tight_bbox"


def accept_former_calls(script: Path) -> None:
    """Let a script call a function of matplotlib as before version 3.11.

    mmpretrain's ``browse_dataset`` imports the private ``matplotlib._tight_bbox.adjust_bbox`` and
    calls it without ``renderer``, which matplotlib requires since 3.11. Nothing happens for other
    scripts and other versions.

    Args:
        script: Script that runs next in this process.
    """
    if MODULE not in script.read_text(encoding="utf-8", errors="replace"):
        return
    try:
        module: Any = import_module(f"matplotlib.{MODULE}")
    except ImportError:  # before matplotlib 3.6
        return
    original = module.adjust_bbox
    renderer = signature(original).parameters.get("renderer")
    if renderer is None or renderer.default is not Parameter.empty:
        return

    def adjust_bbox(figure: Any, box: Any, renderer: Any = None, *more: Any, **options: Any) -> Any:
        renderer = figure.canvas.get_renderer() if renderer is None else renderer
        return original(figure, box, renderer, *more, **options)

    module.adjust_bbox = adjust_bbox
