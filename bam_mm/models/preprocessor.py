"""Preprocessing of batches of several views on the device."""

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
    """Check the views, augment them if the place is ``device``, and normalise them.

    A single tensor instead of a list of views (feature extraction) is only normalised.

    Args:
        layout: :class:`~bam_mm.views.ViewLayout` or a dict of its fields, the same as the
            pipeline's.
        photometric: Same as in :class:`~bam_mm.data.multi_crop.MultiCrop`.
        photometric_place: Same as in :class:`~bam_mm.data.multi_crop.MultiCrop`; both must have the
            same value.
        mean: Mean of each channel, in the order after conversion, for pixel values in [0, 255].
        std: Standard deviation of each channel, in the order after conversion, for pixel values in
            [0, 255].
        to_rgb: Whether the batches are in BGR and are converted to RGB.
        **kwargs: Arguments of mmpretrain's ``SelfSupDataPreprocessor``.
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
            data: Dict with ``inputs``, a list of V uint8 tensors (B, 3, H, W) or one tensor, and
                ``data_samples``.
            training: Whether the batch is for training; only then are views augmented.

        Returns:
            Dict with the same keys, where the inputs are normalised floats on the device of the
            model.

        Raises:
            InputError: If the views do not match the layout, or the pipeline and the preprocessor
                disagree on the place of the photometric augmentation.
        """
        if not (training and isinstance(data["inputs"], (list, tuple))):
            return super().forward(data, training)
        data = self.cast_data(dict(data))
        views = list(data["inputs"])
        self.layout.check([view.shape for view in views])
        self._check_place(data.get("data_samples"))
        # Autocast would round matrix products and convolutions to 8 or 11 bits.
        with torch.autocast(views[0].device.type, enabled=False):
            inputs = [self._prepare(view, index) for index, view in enumerate(views)]
        return {"inputs": inputs, "data_samples": data.get("data_samples")}

    def _prepare(self, view: Tensor, index: int) -> Tensor:
        # Grey and hue are defined on RGB, so the channels are converted before the augmentation.
        if self._channel_conversion:
            view = view.flip(1)
        if self.place == "device":
            drawn = draw(self.specs[index], len(view))
            return apply_to_batch(view, drawn).sub_(self.mean).div_(self.std)
        # One copy to float; everything else is in place.
        return view.to(torch.float32, copy=True).sub_(self.mean).div_(self.std)

    def _check_place(self, data_samples: Sequence | None) -> None:
        pipeline = data_samples[0].get("photometric_place") if data_samples else None
        if pipeline is not None and pipeline != self.place:
            raise InputError(
                f"photometric augmentation: the pipeline places it in the {pipeline}, the "
                f"preprocessor in the {self.place}, so it would run "
                f"{'twice' if pipeline == 'worker' else 'never'}; set the same "
                "`photometric_place` in both (one variable in the config)"
            )
