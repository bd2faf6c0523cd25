"""Hooks; importing this registers them."""

from bam_mm.hooks.collapse_monitor import CollapseMonitorHook
from bam_mm.hooks.online_knn import OnlineKNNHook
from bam_mm.hooks.skipped_images import SkippedImagesHook
from bam_mm.hooks.teacher_update import TeacherUpdateHook

__all__ = ["CollapseMonitorHook", "OnlineKNNHook", "SkippedImagesHook", "TeacherUpdateHook"]
