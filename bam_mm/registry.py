"""Child registries with scope ``bam_mm``.

A config writes ``bam_mm.Name`` under any library's ``default_scope``. ``locations`` lets mmengine
import the packages at the first lookup instead of at ``import bam_mm``.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

SCOPE = "bam_mm"

PACKAGES = ("data", "optim", "models", "hooks", "protocols", "figures")
"""Packages whose ``__init__`` registers their members and exports them as ``bam_mm.Name``."""


def _child(parent: Registry, *packages: str) -> Registry:
    locations = [f"{SCOPE}.{package}" for package in packages]
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=locations)


MODELS = _child(MMENGINE_MODELS, "models")
MODEL_WRAPPERS = _child(MMENGINE_MODEL_WRAPPERS, "models")
DATASETS = _child(MMENGINE_DATASETS, "data")
TRANSFORMS = _child(MMENGINE_TRANSFORMS, "data")
HOOKS = _child(MMENGINE_HOOKS, "hooks", "figures")
LOOPS = _child(MMENGINE_LOOPS, "protocols")
METRICS = _child(MMENGINE_METRICS, "protocols")
OPTIMIZERS = _child(MMENGINE_OPTIMIZERS, "optim")
OPTIM_WRAPPER_CONSTRUCTORS = _child(MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, "optim")
