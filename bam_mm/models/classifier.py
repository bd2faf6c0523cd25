"""mmpretrain's classifier, which takes no pretraining checkpoint for its own."""

from __future__ import annotations

from mmpretrain.models import ImageClassifier as UpstreamClassifier

from bam_mm.models.loading import RefusesPretraining
from bam_mm.registry import MODELS


@MODELS.register_module()
class ImageClassifier(RefusesPretraining, UpstreamClassifier):
    """mmpretrain's ``ImageClassifier`` that stops at a checkpoint of a pretraining.

    mmpretrain's own class would load the student of a BAM checkpoint and keep a random head.

    Raises:
        InputError: On loading, if the checkpoint is one of a pretraining.
    """
