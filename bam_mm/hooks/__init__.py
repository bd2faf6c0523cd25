"""Hooks; importing this package registers them."""

from bam_mm.hooks.box_update import BoxUpdateHook
from bam_mm.hooks.channels_last import ChannelsLastHook
from bam_mm.hooks.check_config import CheckConfigHook
from bam_mm.hooks.check_dense_data import CheckDenseDataHook
from bam_mm.hooks.check_finite import CheckFiniteHook
from bam_mm.hooks.check_labels import CheckLabelsHook
from bam_mm.hooks.check_preprocessing import CheckPreprocessingHook
from bam_mm.hooks.checkpoint import WholeCheckpointHook
from bam_mm.hooks.collapse_monitor import CollapseMonitorHook
from bam_mm.hooks.deferred_runtime_info import DeferredRuntimeInfoHook
from bam_mm.hooks.dino_schedule import DINOScheduleHook
from bam_mm.hooks.frozen_backbone import FrozenBackboneHook
from bam_mm.hooks.load_backbone import LoadBackboneHook
from bam_mm.hooks.online_knn import OnlineKNNHook
from bam_mm.hooks.random_state import RandomStateHook
from bam_mm.hooks.skipped_images import SkippedImagesHook
from bam_mm.hooks.sync_statistics import SyncStatisticsHook
from bam_mm.hooks.teacher_update import TeacherUpdateHook
from bam_mm.hooks.training_clock import TrainingClockHook
from bam_mm.hooks.visual_words import VisualWordsHook

__all__ = [
    "BoxUpdateHook",
    "ChannelsLastHook",
    "CheckConfigHook",
    "CheckDenseDataHook",
    "CheckFiniteHook",
    "CheckLabelsHook",
    "CheckPreprocessingHook",
    "CollapseMonitorHook",
    "DINOScheduleHook",
    "DeferredRuntimeInfoHook",
    "FrozenBackboneHook",
    "LoadBackboneHook",
    "OnlineKNNHook",
    "RandomStateHook",
    "SkippedImagesHook",
    "SyncStatisticsHook",
    "TeacherUpdateHook",
    "TrainingClockHook",
    "VisualWordsHook",
    "WholeCheckpointHook",
]
