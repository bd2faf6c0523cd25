"""Packages that the visualizer's backends need."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from mmengine.config import Config

from bam_mm.errors import InputError
from bam_mm.variables.entries import kind_of

PACKAGES: Mapping[str, tuple[str, ...]] = {
    # mmengine writes through torch.utils.tensorboard, for which tensorboardX is no substitute.
    "TensorboardVisBackend": ("tensorboard",),
    "WandbVisBackend": ("wandb",),
    "MLflowVisBackend": ("mlflow",),
    "ClearMLVisBackend": ("clearml",),
    "NeptuneVisBackend": ("neptune",),
    "DVCLiveVisBackend": ("dvclive",),
    "AimVisBackend": ("aim",),
}
"""Packages of each backend of mmengine, of which it needs one."""


def check_backends(config: Config) -> None:
    """Check that the packages of the visualizer's backends are installed.

    mmengine imports them after it has built half of the runner.

    Args:
        config: Config of a run.

    Raises:
        InputError: If a package is missing; the message has the command that installs it.
    """
    visualizer = config.get("visualizer") or {}
    backends = visualizer.get("vis_backends") if isinstance(visualizer, Mapping) else None
    backends = [backends] if isinstance(backends, Mapping) else backends or []
    for number, backend in enumerate(backends):
        kind = kind_of(backend)
        check_package(kind, f"visualizer.vis_backends.{number}.type={kind!r}", "remove the backend")


def check_package(kind: str, place: str, otherwise: str) -> None:
    """Check that the package of a backend is installed.

    Args:
        kind: Name of the backend's class.
        place: Where the backend is set, for the message.
        otherwise: What the user can do instead of installing the package, for the message.

    Raises:
        InputError: If it is missing; the message has the command that installs it.
    """
    packages = PACKAGES.get(kind, ())
    if packages and not _installed(packages):
        raise InputError(
            f"{place}: the package {packages[0]} is not installed; run "
            f"`{sys.executable} -m pip install {packages[0]}`, or {otherwise}"
        )


def _installed(packages: Iterable[str]) -> bool:
    return any(name in sys.modules or find_spec(name) is not None for name in packages)
