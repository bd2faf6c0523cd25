"""BAM pretraining for mmpretrain, and the suite that shows what a backbone is worth.

``import bam_mm`` registers every component under the scope ``bam_mm`` and stays light: the
registries know in which modules their members live and import them at the first lookup. Heavy
names (``bam_mm.BAM``, ...) are resolved at first use for the same reason.
"""

from importlib import import_module

from bam_mm import registry as _registry  # noqa: F401  (creates the child registries)
from bam_mm.errors import InputError
from bam_mm.version import __version__
from bam_mm.views import ViewLayout

_LAZY = {
    "BAM": "bam_mm.models",
    "BAMHead": "bam_mm.models",
    "BAMProjector": "bam_mm.models",
    "CAFormer": "bam_mm.models",
    "DenseCAFormer": "bam_mm.models",
    "DenseTIMM": "bam_mm.models",
    "DenseViT": "bam_mm.models",
    "LARS": "bam_mm.models",
    "LayerDecayOptimWrapperConstructor": "bam_mm.models",
    "ToFloat32": "bam_mm.models",
    "CheckSemanticMap": "bam_mm.data",
    "MomentumTeacher": "bam_mm.models",
    "MultiViewPreprocessor": "bam_mm.models",
    "EvaluationWrapper": "bam_mm.models",
    "FrozenFeatures": "bam_mm.models",
    "FrozenBackboneClassifier": "bam_mm.models",
    "LabelPropagation": "bam_mm.models",
    "ContrastiveCrop": "bam_mm.data",
    "DAVISDataset": "bam_mm.data",
    "ImageFolder": "bam_mm.data",
    "LoadImage": "bam_mm.data",
    "MultiCrop": "bam_mm.data",
    "BoxUpdateHook": "bam_mm.hooks",
    "transfer_dataset": "bam_mm.data",
    "CheckLabelsHook": "bam_mm.hooks",
    "CollapseMonitorHook": "bam_mm.hooks",
    "FrozenBackboneHook": "bam_mm.hooks",
    "LoadBackboneHook": "bam_mm.hooks",
    "OnlineKNNHook": "bam_mm.hooks",
    "RandomStateHook": "bam_mm.hooks",
    "SkippedImagesHook": "bam_mm.hooks",
    "StudentOptimWrapperConstructor": "bam_mm.models",
    "TeacherUpdateHook": "bam_mm.hooks",
    "WholeCheckpointHook": "bam_mm.hooks",
    "ClusteringLoop": "bam_mm.benchmark",
    "DAVISMetric": "bam_mm.benchmark",
    "KNNTestLoop": "bam_mm.benchmark",
    "LogisticRegressionLoop": "bam_mm.benchmark",
    "ShowPredictionsHook": "bam_mm.benchmark",
    "VideoTestLoop": "bam_mm.benchmark",
}

__all__ = ["InputError", "ViewLayout", "__version__", *_LAZY]


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'bam_mm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
