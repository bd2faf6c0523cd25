"""ContrastiveCrop: random resized crops whose centres lie where the object is.

Peng et al., CVPR 2022; BAM, section 4.1. The draw is apart from the act: ``draw_centre`` draws,
``place_crop`` and the crop itself follow from it. Sizes are drawn by mmpretrain's
``RandomResizedCrop``.
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

    Along each axis it is Beta(alpha, alpha) between the box's edges: uniform for 1, and for less
    (.6 in the paper) rather near the edges, so that two crops differ more.

    Args:
        box: Top, left, bottom, right.
        alpha: Above 0.

    Returns:
        Down and across, in the box's unit.
    """
    top, left, bottom, right = box
    down, across = np.random.beta(alpha, alpha, size=2)
    return top + (bottom - top) * down, left + (right - left) * across


def place_crop(
    centre: tuple[float, float], crop: tuple[int, int], image: tuple[int, int]
) -> tuple[int, int]:
    """Place a crop around a centre, pushed back into the image where it would leave it.

    Args:
        centre: Down and across, in fractions of the image.
        crop: Height and width of the crop in pixels, at most the image's.
        image: Height and width of the image in pixels.

    Returns:
        Top and left of the crop in pixels.
    """
    top, left = (
        min(max(round(middle * whole - part / 2), 0), whole - part)
        for middle, part, whole in zip(centre, crop, image, strict=True)
    )
    return top, left


@TRANSFORMS.register_module()
class ContrastiveCrop(RandomResizedCrop):
    """Random resized crop around a centre drawn in the image's box.

    As long as the store is not active this *is* mmpretrain's ``RandomResizedCrop``, draw for draw:
    with the whole image for a box the law of the centre would be another one.

    Args:
        boxes: The store, whose row is ``results['sample_idx']``.
        alpha: Parameter of the centre's Beta law.
        **kwargs: For ``RandomResizedCrop``: ``scale``, ``crop_ratio_range``, ...

    Raises:
        InputError: If ``alpha`` is not positive.
    """

    def __init__(self, boxes: BoxStore, alpha: float = 0.6, **kwargs) -> None:
        super().__init__(**kwargs)
        if not alpha > 0:
            raise InputError(
                f"ContrastiveCrop alpha={alpha}: a Beta law needs a positive number (.6 in the "
                "paper, 1 is uniform)"
            )
        self.boxes, self.alpha = boxes, alpha

    def draw_box(self, image, results: dict) -> tuple[int, int, int, int]:
        """Draw a crop of an image.

        Args:
            image: What is to be cropped; only its ``shape``, (H, W, 3), is looked at.
            results: For ``sample_idx``, the image's row in an active store.

        Returns:
            Top, left, bottom, right in pixels.

        Raises:
            InputError: If the store is active and ``results`` has no ``sample_idx``.
        """
        top, left, *size = self.rand_crop_params(image)
        if self.boxes.active:
            if "sample_idx" not in results:
                raise InputError(
                    "ContrastiveCrop: the data set gives no 'sample_idx', so the image's box "
                    "cannot be looked up; use a data set of mmengine's kind, such as "
                    "bam_mm.ImageFolder"
                )
            # The size is RandomResizedCrop's; its place is not taken.
            centre = draw_centre(self.boxes.box(results["sample_idx"]), self.alpha)
            top, left = place_crop(centre, size, image.shape[:2])
        return int(top), int(left), int(top + size[0]), int(left + size[1])

    def transform(self, results: dict) -> dict:
        """Crop and resize ``results['img']``, (H, W, 3); say where in ``results['crop_box']``.

        ``crop_box`` is what :meth:`draw_box` returned.
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
