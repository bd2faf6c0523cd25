"""Number of images that could not be read."""

from __future__ import annotations

from mmengine.hooks import Hook

from bam_mm.distributed import gather_objects
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Log the number of unreadable images that ``LoadImage`` has skipped, after each epoch."""

    def after_train_epoch(self, runner) -> None:
        """Log the number of skipped images since the start of the run, unless it is 0."""
        pipeline = getattr(runner.train_dataloader.dataset, "pipeline", None)
        counters = [t.skipped for t in getattr(pipeline, "transforms", ()) if hasattr(t, "skipped")]
        if not counters:
            return
        # The counters lie in memory shared with the workers.
        count = sum(gather_objects(sum(int(counter) for counter in counters)))
        if count:
            runner.visualizer.add_scalars({"skipped_images": count}, step=runner.iter)
            runner.logger.warning(
                f"{count} unreadable image(s) skipped so far, each named above: replace or delete "
                "them, or set on_error='stop' in LoadImage to stop at the first one"
            )
