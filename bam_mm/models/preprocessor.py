"""Preprocessing of multi-view batches on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmpretrain.models import SelfSupDataPreprocessor
from torch import Tensor

from bam_mm.data.photometric import apply_to_batch, draw, resolve_place, specs_of_views
from bam_mm.errors import InputError
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class MultiViewPreprocessor(SelfSupDataPreprocessor):
    """Check the views, augment them on the device if that is its place, and normalise.

    A single tensor in place of a list of views (feature extraction) is normalised only.

    Args:
        layout: A :class:`~bam_mm.views.ViewLayout` or its fields; the pipeline's.
        photometric: As for :class:`~bam_mm.data.multi_crop.MultiCrop`.
        photometric_place: As for :class:`~bam_mm.data.multi_crop.MultiCrop`; the same value.
        mean: Of each channel in the order after conversion, 0 to 255.
        std: Likewise.
        to_rgb: Whether batches arrive in BGR and are turned to RGB.
        **kwargs: For mmpretrain's ``SelfSupDataPreprocessor``.
    """

    def __init__(
        self,
        layout: ViewLayout | Mapping,
        photometric: Sequence[Mapping] | None = None,
        photometric_place: str = "auto",
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        to_rgb: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(mean=list(mean), std=list(std), to_rgb=to_rgb, **kwargs)
        self.layout = ViewLayout.of(layout)
        self.place = resolve_place(photometric_place)
        self.specs = specs_of_views(self.layout.num_global, self.layout.num_local, photometric)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs``, a list of V uint8 tensors (B, 3, H, W) or one tensor, and
                ``data_samples``.
            training: Whether to augment.

        Returns:
            The same keys; inputs float and normalised, on the model's device.

        Raises:
            InputError: If the views do not match the layout, or the pipeline and this disagree on
                where the photometric augmentation takes place.
        """
        if not (training and isinstance(data["inputs"], (list, tuple))):
            return super().forward(data, training)
        data = self.cast_data(dict(data))
        views = list(data["inputs"])
        self.layout.check([view.shape for view in views])
        self._check_place(data.get("data_samples"))
        # Under autocast products of matrices and convolutions would round to 8 or 11 bits.
        with torch.autocast(views[0].device.type, enabled=False):
            inputs = [self._prepare(view, index) for index, view in enumerate(views)]
        return {"inputs": inputs, "data_samples": data.get("data_samples")}

    def _prepare(self, view: Tensor, index: int) -> Tensor:
        # Grey and hue are defined on RGB, so channels turn before the augmentation.
        if self._channel_conversion:
            view = view.flip(1)
        if self.place == "device":
            drawn = draw(self.specs[index], len(view))
            return apply_to_batch(view, drawn).sub_(self.mean).div_(self.std)
        # One float copy; the rest in place.
        return view.to(torch.float32, copy=True).sub_(self.mean).div_(self.std)

    def _check_place(self, data_samples: Sequence | None) -> None:
        pipeline = data_samples[0].get("photometric_place") if data_samples else None
        if pipeline is not None and pipeline != self.place:
            raise InputError(
                f"photometric augmentation: the pipeline has it in the {pipeline}, the "
                f"preprocessor in the {self.place}, so it would run "
                f"{'twice' if pipeline == 'worker' else 'never'}; give both the same "
                "`photometric_place` (one variable in the config)"
            )
