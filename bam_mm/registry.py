"""Child registries with scope ``bam_mm``.

A config writes ``bam_mm.Name`` under any library's ``default_scope``. ``locations`` lets mmengine
import the rooms at the first lookup instead of at ``import bam_mm``.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIMIZERS as MMENGINE_OPTIMIZERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

SCOPE = "bam_mm"

MODELS = Registry("model", parent=MMENGINE_MODELS, scope=SCOPE, locations=["bam_mm.models"])
DATASETS = Registry("dataset", parent=MMENGINE_DATASETS, scope=SCOPE, locations=["bam_mm.data"])
TRANSFORMS = Registry(
    "transform", parent=MMENGINE_TRANSFORMS, scope=SCOPE, locations=["bam_mm.data"]
)
HOOKS = Registry(
    "hook",
    parent=MMENGINE_HOOKS,
    scope=SCOPE,
    locations=["bam_mm.hooks", "bam_mm.benchmark"],
)
LOOPS = Registry("loop", parent=MMENGINE_LOOPS, scope=SCOPE, locations=["bam_mm.benchmark"])
METRICS = Registry("metric", parent=MMENGINE_METRICS, scope=SCOPE, locations=["bam_mm.benchmark"])
OPTIMIZERS = Registry(
    "optimizer", parent=MMENGINE_OPTIMIZERS, scope=SCOPE, locations=["bam_mm.models"]
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    "optimizer wrapper constructor",
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=["bam_mm.models"],
)
