"""Multi-crop augmentation: the views of one image.

The random parameters of all views are drawn first; the image is decoded and cropped afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from mmcv.transforms import BaseTransform

from bam_mm.data.contrastive_crop import BoxStore, ContrastiveCrop
from bam_mm.data.crop_resize import (
    BACKENDS,
    Box,
    box_in_reduced,
    crop_with_pillow,
    crop_with_torch,
)
from bam_mm.data.lazy_image import LazyImage, choose_reduction
from bam_mm.data.photometric import (
    PhotometricDraw,
    PhotometricSpec,
    apply_to_bgr,
    apply_to_image,
    draw,
    resolve_place,
    specs_of_views,
)
from bam_mm.errors import InputError
from bam_mm.registry import TRANSFORMS
from bam_mm.views import ViewLayout


@TRANSFORMS.register_module()
class Photometric(BaseTransform):
    """BYOL's photometric augmentation of one view, in a worker.

    Args:
        **spec: Fields of :class:`~bam_mm.data.photometric.draw.PhotometricSpec`.
    """

    def __init__(self, **spec) -> None:
        self.spec = PhotometricSpec.of(spec)

    def transform(self, results: dict) -> dict:
        """Augment ``results['img']``, an (H, W, 3) uint8 image in BGR, as loaded by mmcv."""
        results["img"] = _augment_with_pillow(results["img"], draw(self.spec, 1))
        return results


@dataclass(frozen=True)
class ViewDraw:
    """Random parameters of one view.

    Attributes:
        box: Top, left, bottom, right of the crop in pixels of the image.
        flip: Whether the view is flipped horizontally.
        photometric: Parameters of the photometric augmentation; None if it runs on the device.
    """

    box: Box
    flip: bool
    photometric: PhotometricDraw | None


@TRANSFORMS.register_module()
class MultiCrop(BaseTransform):
    """Make the views of a layout by random resized crops, flips and photometric augmentation.

    The crops are those of :class:`~bam_mm.data.contrastive_crop.crop.ContrastiveCrop`: plain random
    resized crops until a :class:`~bam_mm.hooks.box_update.BoxUpdateHook` has written boxes into
    ``boxes``.

    Args:
        layout: A :class:`~bam_mm.views.ViewLayout` or a dict of its fields.
        global_scale: Range of the area of global crops, as a fraction of the image's area.
        local_scale: Range of the area of local crops, as a fraction of the image's area.
        photometric: One entry per view, or None for BYOL's settings (see
            :func:`~bam_mm.data.photometric.draw.specs_of_views`).
        photometric_place: Where photometric augmentation runs: ``worker`` (in this transform),
            ``device`` (in the data preprocessor) or ``auto`` (see
            :func:`~bam_mm.data.photometric.draw.resolve_place`). The preprocessor needs the same
            value.
        flip_prob: Probability of a horizontal flip.
        backend: Library for crops and for photometric augmentation in the worker: ``pillow``, as in
            the released code, or ``torch``, which has the same filter in vectorised form and
            OpenCV's colours. From the same random state both make the same views, except for
            rounding (single grey levels) and the blur (an exact Gaussian instead of Pillow's three
            box filters), but ``torch`` is several times faster (docs/benchmarks.md).
        box_alpha: Parameter of the Beta(box_alpha, box_alpha) distribution of a crop's centre
            within the image's box, used once boxes are available.

    Attributes:
        boxes: The :class:`~bam_mm.data.contrastive_crop.box_store.BoxStore` that all views share.

    Raises:
        InputError: If the backend is unknown.
    """

    def __init__(
        self,
        layout: ViewLayout | Mapping,
        global_scale: Sequence[float] = (0.25, 1.0),
        local_scale: Sequence[float] = (0.05, 0.25),
        photometric: Sequence[Mapping] | None = None,
        photometric_place: str = "auto",
        flip_prob: float = 0.5,
        backend: str = "pillow",
        box_alpha: float = 0.6,
    ) -> None:
        if backend not in BACKENDS:
            raise InputError(f"MultiCrop backend={backend!r}: choose one of {', '.join(BACKENDS)}")
        self.boxes = BoxStore()
        self.layout = ViewLayout.of(layout)
        self.place = resolve_place(photometric_place)
        self.backend, self.flip_prob = backend, flip_prob
        self.specs = specs_of_views(self.layout.num_global, self.layout.num_local, photometric)
        scales = [global_scale] * self.layout.num_global + [local_scale] * self.layout.num_local
        self.crops = [
            ContrastiveCrop(self.boxes, box_alpha, scale=size, crop_ratio_range=tuple(scale))
            for size, scale in zip(self.layout.sizes, scales, strict=True)
        ]

    def transform(self, results: dict) -> dict | None:
        """Replace ``results['img']`` by the list of views.

        ``results['photometric_place']`` is the place of the photometric augmentation, which the
        preprocessor checks. For inspection, ``results['crop_boxes']`` holds the box of each view in
        the image (top, left, bottom, right in pixels), and ``results['flips']`` whether each view
        is flipped. They are part of the batch only if they are in the ``meta_keys`` of
        ``PackInputs``.

        A :class:`~bam_mm.data.lazy_image.LazyImage` is decoded at the coarsest scale from which no
        crop has to be enlarged.

        Returns:
            The results, or None if a lazy image cannot be decoded and is skipped.
        """
        image = results["img"]
        drawn = [
            self._draw(crop, spec, image, results)
            for crop, spec in zip(self.crops, self.specs, strict=True)
        ]
        boxes = [d.box for d in drawn]
        results["crop_boxes"] = boxes
        if isinstance(image, LazyImage):
            whole = image.shape[:2]
            image = image.decode_or_report(choose_reduction(boxes, [c.scale for c in self.crops]))
            if image is None:
                return None
            if image.shape[:2] != whole:
                boxes = [box_in_reduced(box, whole, image.shape[:2]) for box in boxes]
        results["img"] = [
            self._make(image, box, crop.scale, d)
            for box, crop, d in zip(boxes, self.crops, drawn, strict=True)
        ]
        results["flips"] = [d.flip for d in drawn]
        results["photometric_place"] = self.place
        return results

    def _draw(self, crop: ContrastiveCrop, spec: PhotometricSpec, image, results) -> ViewDraw:
        return ViewDraw(
            box=crop.draw_box(image, results),
            flip=bool(np.random.random_sample() < self.flip_prob),
            photometric=draw(spec, 1) if self.place == "worker" else None,
        )

    def _make(
        self, image: np.ndarray, box: Box, size: tuple[int, int], drawn: ViewDraw
    ) -> np.ndarray:
        with_torch = self.backend == "torch"
        view = (crop_with_torch if with_torch else crop_with_pillow)(image, box, size, drawn.flip)
        if drawn.photometric is None:
            return view
        return (apply_to_bgr if with_torch else _augment_with_pillow)(view, drawn.photometric)


def _augment_with_pillow(bgr: np.ndarray, drawn: PhotometricDraw) -> np.ndarray:
    return apply_to_image(bgr[..., ::-1], drawn)[..., ::-1]
