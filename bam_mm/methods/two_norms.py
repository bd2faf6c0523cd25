"""Preprocessing of BEiT: images for the backbone and for the tokenizer."""

from __future__ import annotations

from mmpretrain.models import SelfSupDataPreprocessor, TwoNormDataPreprocessor
from torch import Tensor

from bam_mm.registry import MODELS


@MODELS.register_module()
class TwoNormPreprocessor(TwoNormDataPreprocessor):
    """mmpretrain's preprocessor of BEiT, also for the single images of an evaluation.

    The arguments are those of ``TwoNormDataPreprocessor``: ``mean`` and ``std`` of the backbone,
    ``second_mean`` and ``second_std`` of the tokenizer, for pixel values in [0, 255].
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch.

        Args:
            data: Dict with ``inputs``, two uint8 tensors (B, 3, H, W) for backbone and tokenizer
                or one for the backbone, and ``data_samples``.
            training: Not used.

        Returns:
            Dict with the same keys, where the inputs are normalised floats on the device of the
            model.
        """
        if isinstance(data["inputs"], Tensor):
            return SelfSupDataPreprocessor.forward(self, data, training)
        return super().forward(data, training)
