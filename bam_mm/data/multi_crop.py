"""Multi-crop: the views of one image, through mmpretrain's ``MultiView``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from mmcv.transforms import BaseTransform
from mmpretrain.datasets.transforms import MultiView

from bam_mm.data.box_store import BoxStore
from bam_mm.data.contrastive_crop import ContrastiveCrop
from bam_mm.data.photometric import PhotometricSpec, draw, resolve_place, specs_of_views
from bam_mm.data.photometric_pil import apply_to_image
from bam_mm.registry import TRANSFORMS
from bam_mm.views import ViewLayout


@TRANSFORMS.register_module()
class Photometric(BaseTransform):
    """BYOL's photometric augmentations of one view, in a worker.

    Args:
        **spec: Fields of :class:`~bam_mm.data.photometric.PhotometricSpec`.
    """

    def __init__(self, **spec) -> None:
        self.spec = PhotometricSpec.of(spec)

    def transform(self, results: dict) -> dict:
        """Augment ``results['img']``, (H, W, 3) uint8 in BGR as mmcv loads it."""
        rgb = results["img"][..., ::-1]
        results["img"] = apply_to_image(rgb, draw(self.spec, 1))[..., ::-1]
        return results


@TRANSFORMS.register_module()
class MultiCrop(MultiView):
    """The views that a layout asks for: random resized crop, flip, photometric augmentation.

    The crops are :class:`~bam_mm.data.contrastive_crop.ContrastiveCrop`: plain random resized crops
    until a :class:`~bam_mm.hooks.box_update.BoxUpdateHook` has written boxes into ``boxes``.

    Args:
        layout: A :class:`~bam_mm.views.ViewLayout` or its fields.
        global_scale: Range of a global crop's area as a fraction of the image's.
        local_scale: Likewise for local crops.
        photometric: One entry a view, or None for BYOL's (see
            :func:`~bam_mm.data.photometric.specs_of_views`).
        photometric_place: ``worker`` augments here, ``device`` leaves it to the preprocessor,
            ``auto`` chooses. Give the preprocessor the same value.
        flip_prob: Probability of a horizontal flip.
        backend: ``pillow`` (anti-aliased, as the released code) or ``cv2``.
        box_alpha: A crop's centre is Beta(box_alpha, box_alpha) within the image's box, once there
            are boxes.

    Attributes:
        boxes: The :class:`~bam_mm.data.box_store.BoxStore` of all views.
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
        self.boxes = BoxStore()
        self.layout = ViewLayout.of(layout)
        self.place = resolve_place(photometric_place)
        specs = specs_of_views(self.layout.num_global, self.layout.num_local, photometric)
        transforms = []
        for view, (size, spec) in enumerate(zip(self.layout.sizes, specs, strict=True)):
            scale = global_scale if view < self.layout.num_global else local_scale
            steps = [
                ContrastiveCrop(
                    self.boxes,
                    box_alpha,
                    scale=size,
                    crop_ratio_range=tuple(scale),
                    interpolation="bicubic",
                    backend=backend,
                ),
                dict(type="mmpretrain.RandomFlip", prob=flip_prob),
            ]
            if self.place == "worker":
                steps.append(Photometric(**vars(spec)))
            transforms.append(steps)
        super().__init__(transforms=transforms, num_views=[1] * self.layout.num_views)

    def transform(self, results: dict) -> dict:
        """Replace ``results['img']`` by the list of views; say where the rest is to be done.

        ``results['crop_boxes']`` says where each view lies in the image (top, left, bottom, right
        in pixels) and ``results['flips']`` whether it was flipped, for those who want to look:
        they enter the batch only if ``PackInputs`` is asked for them by ``meta_keys``.
        """
        views = [transform(copy.deepcopy(results)) for transform in self.transforms]
        results["img"] = [view["img"] for view in views]
        results["crop_boxes"] = [view["crop_box"] for view in views]
        results["flips"] = [bool(view["flip"]) for view in views]
        results["photometric_place"] = self.place
        return results
