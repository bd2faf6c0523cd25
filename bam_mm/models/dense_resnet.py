"""mmpretrain's ResNet as the backbone of a detector or segmentor."""

from __future__ import annotations

from mmpretrain.models import ResNet

from bam_mm.models.loading import RefusesPretraining
from bam_mm.registry import MODELS


@MODELS.register_module()
class DenseResNet(RefusesPretraining, ResNet):
    """mmpretrain's ``ResNet`` in a detector or segmentor that stops at a pretraining checkpoint.

    Raises:
        InputError: On loading, if the checkpoint of the whole model is one of a pretraining.
    """
