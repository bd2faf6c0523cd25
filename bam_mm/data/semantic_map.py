"""Loading of semantic maps as labels."""

from __future__ import annotations

from mmcv.transforms import BaseTransform
from mmengine import fileio

from bam_mm.data.map_files import read_map
from bam_mm.data.map_labels import IGNORED, to_labels
from bam_mm.data.orientation import mismatch
from bam_mm.errors import InputError
from bam_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadSemanticMap(BaseTransform):
    """Load the map at ``results['seg_map_path']`` into ``results['gt_seg_map']``.

    The labels of 8-bit maps are those of mmseg's ``LoadAnnotations``, which cuts larger ids to 8
    bits and accepts maps of another size than their image. Whether 0 is unlabelled
    (``reduce_zero_label``) is a setting of the data set.

    Args:
        num_classes: Number of classes of the data. A run sets it at its start from the names of the
            classes; without a run, None checks no label.
        backend_args: Arguments of mmengine's file backend; None for local files.
    """

    def __init__(self, num_classes: int | None = None, backend_args: dict | None = None) -> None:
        self.num_classes, self.backend_args = num_classes, backend_args

    def transform(self, results: dict) -> dict:
        """Load the map. Results without its path, such as an inferencer's, pass unchanged.

        Raises:
            InputError: If the map cannot be read, has another size than its image or a label beyond
                the classes, or there are more than 255 classes.
        """
        path = results.get("seg_map_path")
        if path is None:
            return results
        ids = read_map(self._read(path), path)
        shape = tuple(results.get("ori_shape", ids.shape))
        if ids.shape != shape:
            image = str(results.get("img_path", "the image"))
            raise InputError(mismatch(shape, ids.shape, path=image, source=f"its map {path}"))
        reduced = bool(results.get("reduce_zero_label"))
        results["gt_seg_map"] = to_labels(
            ids,
            IGNORED - reduced if self.num_classes is None else self.num_classes,
            path,
            reduced=reduced,
            label_map=results.get("label_map"),
        )
        results.setdefault("seg_fields", []).append("gt_seg_map")
        return results

    def _read(self, path: str) -> bytes:
        try:
            return fileio.get(path, backend_args=self.backend_args)
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}): restore the map, or remove it together "
                "with its image"
            ) from error
