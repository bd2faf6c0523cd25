"""A look at every semantic map as it is read."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from bam_mm.data.checks.dense_labels import check_map
from bam_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CheckSemanticMap(BaseTransform):
    """Stop at a map with a label beyond the classes, which a loss on a GPU reports as nonsense.

    Args:
        num_classes: That the head knows.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def transform(self, results: dict) -> dict:
        """Check ``results['gt_seg_map']``.

        Raises:
            InputError: See :func:`~bam_mm.data.checks.dense_labels.check_map`.
        """
        check_map(
            results["gt_seg_map"],
            self.num_classes,
            results["seg_map_path"],
            reduced=bool(results.get("reduce_zero_label")),
        )
        return results
