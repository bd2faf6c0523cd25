"""Check of every semantic map that a library's transform has loaded."""

from __future__ import annotations

from mmcv.transforms import BaseTransform

from bam_mm.data.map_files import is_wide, read_map_file
from bam_mm.data.map_labels import check_map, to_labels
from bam_mm.data.orientation import mismatch
from bam_mm.errors import InputError
from bam_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CheckSemanticMap(BaseTransform):
    """Stop at a map that does not fit the classes or its image.

    It follows mmseg's ``LoadAnnotations`` in your own pipelines; those of this package load maps by
    :class:`~bam_mm.data.semantic_map.LoadSemanticMap`, which includes these checks. Without them, a
    loss on a GPU fails with a message that does not name the cause.

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
            InputError: If a label is beyond the classes, or the map has several channels or another
                size than its image, as loaded or as resized since.
        """
        if "gt_seg_map" not in results:
            return results
        labels, path = results["gt_seg_map"], results["seg_map_path"]
        reduced = bool(results.get("reduce_zero_label"))
        if is_wide(path):
            # The library has cut its values to 8 bits.
            to_labels(read_map_file(path), self.num_classes, path, reduced=reduced)
        if labels.ndim != 2:
            raise InputError(
                f"{path} has {labels.shape[-1]} channels: save maps as PNG with one channel, or "
                "put dict(type='bam_mm.LoadSemanticMap') in place of LoadAnnotations"
            )
        check_map(labels, self.num_classes, path, reduced=reduced)
        sizes = [tuple(results[key]) for key in ("ori_shape", "img_shape") if key in results]
        if sizes and labels.shape not in sizes:
            image = str(results.get("img_path", "the image"))
            raise InputError(mismatch(sizes[0], labels.shape, path=image, source=f"its map {path}"))
        return results
