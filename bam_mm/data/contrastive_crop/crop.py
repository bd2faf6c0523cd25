"""ContrastiveCrop: random resized crops whose centres are drawn in the object's box.

See Peng et al., CVPR 2022, and BAM, section 4.1. Drawing is separate from cropping: mmpretrain's
``RandomResizedCrop`` draws the size and ``draw_centre`` the centre, from which ``place_crop`` and
the crop itself follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import mmcv
import numpy as np
from mmpretrain.datasets.transforms import RandomResizedCrop

from bam_mm.data.contrastive_crop.box_store import BoxStore
from bam_mm.errors import InputError
from bam_mm.registry import TRANSFORMS


def draw_centre(box: Sequence[float], alpha: float) -> tuple[float, float]:
    """Draw a crop's centre in a box, from NumPy's global state.

    Along each axis, the centre is Beta(alpha, alpha) distributed between the box's edges: uniform
    for 1, and closer to the edges for smaller values (0.6 in the paper), so that two crops differ
    more.

    Args:
        box: Top, left, bottom, right of the box.
        alpha: Parameter of the Beta distribution, above 0.

    Returns:
        Vertical and horizontal position of the centre, in the box's unit.
    """
    top, left, bottom, right = box
    down, across = np.random.beta(alpha, alpha, size=2)
    return top + (bottom - top) * down, left + (right - left) * across


def place_crop(
    centre: tuple[float, float], crop: tuple[int, int], image: tuple[int, int]
) -> tuple[int, int]:
    """Place a crop around a centre, or as close to it as the image's edges allow.

    Args:
        centre: Vertical and horizontal position of the centre, as fractions of the image.
        crop: Height and width of the crop in pixels, at most the image's.
        image: Height and width of the image in pixels.

    Returns:
        Top and left edge of the crop in pixels.
    """
    top, left = (
        min(max(round(middle * whole - part / 2), 0), whole - part)
        for middle, part, whole in zip(centre, crop, image, strict=True)
    )
    return top, left


@TRANSFORMS.register_module()
class ContrastiveCrop(RandomResizedCrop):
    """Random resized crop around a centre drawn in the image's box.

    While the store is not active, this is mmpretrain's ``RandomResizedCrop`` with exactly the same
    draws: boxes that cover the whole image would lead to another distribution of the centres.

    Args:
        boxes: Store of the boxes, indexed by ``results['sample_idx']``.
        alpha: Parameter of the centre's Beta distribution.
        **kwargs: Arguments of ``RandomResizedCrop``: ``scale``, ``crop_ratio_range``, ...

    Raises:
        InputError: If ``alpha`` is not positive.
    """

    def __init__(self, boxes: BoxStore, alpha: float = 0.6, **kwargs) -> None:
        super().__init__(**kwargs)
        if not alpha > 0:
            raise InputError(
                f"ContrastiveCrop alpha={alpha}: set a positive number (0.6 in the paper; 1 is the "
                "uniform distribution)"
            )
        self.boxes, self.alpha = boxes, alpha

    def draw_box(self, image, results: dict) -> tuple[int, int, int, int]:
        """Draw a crop of an image.

        Args:
            image: Image to crop; only its ``shape``, (H, W, 3), is read.
            results: Results of the pipeline, with the image's index ``sample_idx`` for an active
                store.

        Returns:
            Top, left, bottom, right of the crop in pixels.

        Raises:
            InputError: If the store is active and ``results`` has no ``sample_idx``.
        """
        top, left, *size = self.rand_crop_params(image)
        if self.boxes.active:
            if "sample_idx" not in results:
                raise InputError(
                    "ContrastiveCrop: the data set provides no 'sample_idx' to find the image's "
                    "box; use a subclass of mmengine's BaseDataset, such as bam_mm.ImageFolder"
                )
            # RandomResizedCrop determines the size only, not the place.
            centre = draw_centre(self.boxes.box(results["sample_idx"]), self.alpha)
            top, left = place_crop(centre, size, image.shape[:2])
        return int(top), int(left), int(top + size[0]), int(left + size[1])

    def transform(self, results: dict) -> dict:
        """Crop and resize ``results['img']``, an (H, W, 3) image.

        ``results['crop_box']`` is the box returned by :meth:`draw_box`.
        """
        image = results["img"]
        top, left, bottom, right = box = self.draw_box(image, results)
        results["img"] = mmcv.imresize(
            image[top:bottom, left:right],
            tuple(self.scale[::-1]),
            interpolation=self.interpolation,
            backend=self.backend,
        )
        results["img_shape"] = results["img"].shape
        results["crop_box"] = box
        return results
