"""The option ``--vis``: TensorBoard, Weights & Biases and other backends of the visualizer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import VISBACKENDS

from bam_mm.errors import InputError
from bam_mm.launch.backends import check_package
from bam_mm.variables.entries import kind_of

FLAG = "--vis"

SUFFIX = "VisBackend"

OURS = frozenset({"TensorboardVisBackend", "WandbVisBackend"})
"""Backends of which this package has its own, which continue a resumed run."""

LOCAL = "LocalVisBackend"
"""The backend that writes ``scalars.json``, which mmlab's tools and ``bam-mm plot`` read."""


def backend_names() -> dict[str, str]:
    """Return the classes of mmengine's backends by the names that ``--vis`` takes."""
    names = [name for name in VISBACKENDS.module_dict if name.endswith(SUFFIX)]
    return {name.removesuffix(SUFFIX).lower(): name for name in names}


def check_vis(names: Collection[str]) -> None:
    """Check that backends exist and that their packages are installed.

    Args:
        names: Values of ``--vis``.

    Raises:
        InputError: If one does not exist or cannot be used.
    """
    known = backend_names()
    for name in names:
        if name.lower() not in known:
            raise InputError(
                f"{FLAG} {name}: there is no such backend; choose {', '.join(sorted(known))}"
            )
        check_package(known[name.lower()], f"{FLAG} {name}", "leave the option out")


def track(config: Config, names: Sequence[str], *, resume: bool, train: bool) -> None:
    """Add backends to a config's visualizer, and the hooks that they need.

    A backend that the config has keeps its arguments. In a training, pictures are drawn too
    (:class:`~bam_mm.figures.show_views.ShowViewsHook` and so on, unless the config has them), and
    metrics of a validation get the iteration as their step instead of the epoch, so that all curves
    have one axis.

    Args:
        config: Config of a run; changed in place.
        names: Values of ``--vis``; nothing is changed if there are none.
        resume: Whether the backends continue what the work folder holds.
        train: Whether the run is a training.

    Raises:
        InputError: If a backend does not exist or cannot be used.
    """
    if not names:
        return
    check_vis(names)
    known = backend_names()
    visualizer = config.get("visualizer") or ConfigDict(type="mmengine.Visualizer")
    backends = visualizer.get("vis_backends") or []
    backends = [dict(each) for each in ([backends] if isinstance(backends, Mapping) else backends)]
    for kind in (LOCAL, *(known[name.lower()] for name in names)):
        _add(backends, kind, resume)
    config.visualizer = ConfigDict(visualizer, vis_backends=backends)
    if train:
        _add_hooks(config)


def _add(backends: list[dict[str, Any]], kind: str, resume: bool) -> None:
    entry = next((each for each in backends if kind_of(each) == kind), None)
    if entry is None:
        backends.append(entry := {"type": f"mmengine.{kind}"})
    if kind in OURS:
        entry.update(type=f"bam_mm.{kind}", resume=resume)


def _add_hooks(config: Config) -> None:
    hooks = list(config.get("custom_hooks") or [])
    wanted = ["TrackingHook", "ShowViewsHook"]
    if config.get("default_scope") == "mmpretrain":
        wanted.append("ShowAttentionHook")
    present = {kind_of(hook) for hook in hooks}
    if "OnlineKNNHook" in present:
        wanted.append("ShowNeighboursHook")
    config.custom_hooks = hooks + [
        ConfigDict(type=f"bam_mm.{name}") for name in wanted if name not in present
    ]
    logger = (config.get("default_hooks") or {}).get("logger")
    if isinstance(logger, Mapping):
        config.default_hooks.logger = ConfigDict(logger, log_metric_by_epoch=False)
