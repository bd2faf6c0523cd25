"""The names by which mmengine finds this package: ``bam_mm.Name`` and ``bam_mm::FOLDER/CONFIG.py``.

A config writes ``bam_mm.Name`` under any library's ``default_scope``. ``locations`` lets mmengine
import the packages at the first lookup instead of at ``import bam_mm``.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

from bam_mm.errors import InputError

SCOPE = "bam_mm"

PACKAGES = ("data", "optim", "models", "methods", "hooks", "protocols", "figures")
"""Packages whose ``__init__`` registers their members and exports them as ``bam_mm.Name``."""

CONFIG_SCOPE = f"{SCOPE}::"
"""Prefix of this package's configs in a ``_base_``."""

CONFIGS = (Path(__file__).resolve().parent / ".mim/configs").resolve()
"""Folder of this package's configs."""

FORMS = (
    "timm:NAME, timm:NAME@PATH, torchvision:NAME@PATH, mmpretrain:NAME@PATH, bam:PATH, "
    "bam:PATH@student, random:NAME, random:timm:NAME, random:torchvision:NAME, random:bam:PATH"
)
"""Short names of backbones, see :func:`~bam_mm.checkpoint.parse_backbone`."""


def _child(parent: Registry, *packages: str) -> Registry:
    locations = [f"{SCOPE}.{package}" for package in packages]
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=locations)


MODELS = _child(MMENGINE_MODELS, "models", "methods")
MODEL_WRAPPERS = _child(MMENGINE_MODEL_WRAPPERS, "models")
WEIGHT_INITIALIZERS = _child(MMENGINE_WEIGHT_INITIALIZERS, "models")
DATASETS = _child(MMENGINE_DATASETS, "data")
DATA_SAMPLERS = _child(MMENGINE_DATA_SAMPLERS, "data")
TRANSFORMS = _child(MMENGINE_TRANSFORMS, "data")
HOOKS = _child(MMENGINE_HOOKS, "hooks", "figures")
LOOPS = _child(MMENGINE_LOOPS, "protocols")
METRICS = _child(MMENGINE_METRICS, "protocols")
OPTIMIZERS = _child(MMENGINE_OPTIMIZERS, "optim")
OPTIM_WRAPPERS = _child(MMENGINE_OPTIM_WRAPPERS, "optim")
STRATEGIES = _child(MMENGINE_STRATEGIES, "optim")
OPTIM_WRAPPER_CONSTRUCTORS = _child(MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, "optim")
VISBACKENDS = _child(MMENGINE_VISBACKENDS, "figures")


def registered_class(kind: str | type) -> Any:
    """Return the registered class of a model or a part of one.

    Args:
        kind: Name in :data:`MODELS`, or the class itself. A name without a scope is looked up in
            the current scope, as ``MODELS.build`` does.

    Raises:
        InputError: If there is none of this name.
    """
    if not isinstance(kind, str):
        return kind
    with MODELS.switch_scope_and_registry(None) as registry:
        found = registry.get(kind)
    if found is None:
        raise InputError(f"type {kind!r} is not registered: import its module")
    return found


def _resolve_own_bases() -> None:
    """Let ``_base_`` name this package's configs, as in ``bam_mm::cls/vit-toy-p8_knn_toy.py``.

    mmengine knows a fixed list of packages and looks types of their configs up in their registry
    first (``_scope_``). Types in this package's configs are names of mmpretrain, mmdet or mmseg, by
    the config's ``default_scope``, or have the prefix ``bam_mm.``; they need no scope.
    """
    original = Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if not cfg_path.startswith(CONFIG_SCOPE):
            return original(cfg_path, filename)
        path = CONFIGS / f"{cfg_path.removeprefix(CONFIG_SCOPE).removesuffix('.py')}.py"
        if not path.is_file():
            known = {
                p.name: f"{CONFIG_SCOPE}{p.relative_to(CONFIGS)}" for p in CONFIGS.rglob("*.py")
            }
            close = [known[name] for name in get_close_matches(path.name, known, n=3)]
            raise InputError(
                f"_base_ {cfg_path!r} in {filename}: {path} does not exist; "
                + (f"did you mean {', '.join(close)}?" if close else f"choose a file of {CONFIGS}")
            )
        return str(path), None

    Config._get_cfg_path = staticmethod(get_cfg_path)


_resolve_own_bases()

# For `_base_ = 'mmseg::...'`, mmengine asks for the distribution mmsegmentation, which the fork
# onedl-mmsegmentation is not. The name of the package finds either.
MODULE2PACKAGE["mmseg"] = "mmseg"
