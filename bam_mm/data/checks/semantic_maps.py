"""Check of every semantic map when it is loaded."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from bam_mm.data.checks.dense_labels import check_map
from bam_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CheckSemanticMap(BaseTransform):
    """Stop at a map with a label beyond the classes.

    Without this check, a loss on a GPU fails with a message that does not name the cause.

    Args:
        num_classes: Number of classes of the head.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        """Check ``results['gt_seg_map']``, if there is one.

        Results without a map pass unchanged: mmseg's inferencer runs the pipeline of the test
        without its loading of maps.

        Raises:
            InputError: If a label is beyond the classes.
        """
        if "gt_seg_map" not in results:
            return results
        check_map(
            results["gt_seg_map"],
            self.num_classes,
            results["seg_map_path"],
            reduced=bool(results.get("reduce_zero_label")),
        )
        return results
