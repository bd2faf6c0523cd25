"""BYOL: Bootstrap Your Own Latent (Grill et al., NeurIPS 2020, arXiv 2006.07733)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bam_mm.models.siamese import SiameseModel, neck_output
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class BYOL(SiameseModel):
    """BYOL: the student predicts the teacher's projection of the other view.

    The loss is the mean over both directions and images of 1 - cosine, as in lightly, whose
    learning rates therefore apply; the paper's sum of squared distances is four times that, and so
    is mmpretrain's. mmpretrain's ``BYOL`` also gives its teacher the student's BatchNorm
    statistics, and a ViT with frozen position embeddings stops it on several GPUs. Here the teacher
    has its own statistics, and :class:`~bam_mm.TeacherUpdateHook` moves it.

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of the projector, such as mmpretrain's ``NonLinearNeck``.
        predictor: Config of the predictor, a neck on the projections.
        layout: Views of an image, two global ones.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If there are other views than two global ones.
    """

    compares_images = False

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        predictor: dict,
        layout: ViewLayout | Mapping,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=None,
            layout=layout,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.predictor = MODELS.build(predictor)
        self.check_two_views()

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            inputs: Two tensors (B, 3, H, W).
            data_samples: Not used.

        Returns:
            Dict with the scalar ``loss``.
        """
        predictions = [neck_output(self.predictor((z,))) for z in self.project_each(inputs)]
        targets = self.project_each_by_teacher(inputs)
        cosines = [
            F.cosine_similarity(prediction, target, dim=1).mean()
            for prediction, target in zip(predictions, reversed(targets), strict=True)
        ]
        return {"loss": 1 - torch.stack(cosines).mean()}
