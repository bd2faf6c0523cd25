"""A count of the images that could not be read."""

from __future__ import annotations

from mmengine.hooks import Hook

from bam_mm.distributed import sum_over_processes
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Say after each epoch how many unreadable images were skipped (``LoadImage`` counts them)."""

    def after_train_epoch(self, runner) -> None:
        """Log the count since the start of the run, if there is any."""
        pipeline = getattr(runner.train_dataloader.dataset, "pipeline", None)
        counters = [t.skipped for t in getattr(pipeline, "transforms", ()) if hasattr(t, "skipped")]
        if not counters:
            return
        count = int(sum_over_processes(sum(counters[1:], counters[0])))
        if count:
            runner.logger.warning(
                f"{count} unreadable image(s) skipped so far; each is named above. Replace or "
                "delete them, or stop at the first with on_error='stop' in LoadImage"
            )
