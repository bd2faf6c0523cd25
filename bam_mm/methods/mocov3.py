"""MoCo v3 (Chen et al., ICCV 2021, arXiv 2104.02057)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.methods.contrast import log_probabilities, own_columns
from bam_mm.methods.library import check_positive, full_precision
from bam_mm.models.siamese import SiameseModel, neck_output
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class MoCoV3(SiameseModel):
    """MoCo v3: the student's prediction finds the teacher's projection of the other view.

    mmpretrain's ``MoCoV3`` has the same loss, but gives its teacher the student's BatchNorm
    statistics, and a ViT with frozen position embeddings stops it on several GPUs. Here the teacher
    has its own statistics, and :class:`~bam_mm.TeacherUpdateHook` moves it.

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of the projector, such as mmpretrain's ``NonLinearNeck``.
        predictor: Config of the predictor, a neck on the projections.
        head: Config of :class:`MoCoV3Head`.
        layout: Views of an image, two global ones.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If there are other views than two global ones.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        predictor: dict,
        head: dict,
        layout: ViewLayout | Mapping,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
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

        Raises:
            InputError: If the batch has a single image.
        """
        self.check_batch(inputs)
        predictions = [neck_output(self.predictor((z,))) for z in self.project_each(inputs)]
        return {"loss": self.head(predictions, self.project_each_by_teacher(inputs))}


@MODELS.register_module()
class MoCoV3Head(BaseModule):
    """The loss of MoCo v3 (algorithm 1): 2 * temperature * cross-entropy, summed over both orders.

    The keys are the teacher's projections of the images of all processes.

    Args:
        temperature: Softmax temperature.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If the temperature is not positive.
    """

    def __init__(self, temperature: float = 0.2, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        check_positive("model.head", temperature=temperature)
        self.temperature = temperature

    @full_precision
    def forward(self, predictions: list[Tensor], targets: list[Tensor]) -> Tensor:
        """Compute the loss.

        Args:
            predictions: Two tensors (B, D), one for each view.
            targets: Two tensors (B, D) of the teacher.

        Returns:
            Scalar loss.
        """
        losses = [
            F.nll_loss(log_probabilities(query, key, self.temperature), own_columns(query))
            for query, key in zip(predictions, reversed(targets), strict=True)
        ]
        return 2 * self.temperature * torch.stack(losses).sum()
