"""SimCLR (Chen et al., ICML 2020, arXiv 2002.05709), with the whole gradient over processes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.methods.contrast import nt_xent
from bam_mm.methods.library import check_positive, full_precision
from bam_mm.models.siamese import SiameseModel, neck_output
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class SimCLR(SiameseModel):
    """SimCLR: the two views of an image find each other among all views of the batch.

    mmpretrain's ``SimCLR`` computes the same loss, but on P processes its gradient, averaged over
    them, is 1 / P of that of the whole batch, since its gathering drops what the other processes
    contribute. Both views pass in one batch, as in mmpretrain's.

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of the projector, such as mmpretrain's ``NonLinearNeck``.
        head: Config of :class:`SimCLRHead`.
        layout: Views of an image, two of the same size.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If there are other views than two of the same size.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
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
            use_teacher=False,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
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
        projections = neck_output(self.neck(self.backbone(torch.cat(inputs))))
        self.last_projection = projections.detach()
        return {"loss": self.head(projections)}


@MODELS.register_module()
class SimCLRHead(BaseModule):
    """The loss of SimCLR, see :func:`~bam_mm.methods.contrast.nt_xent`.

    Args:
        temperature: Softmax temperature.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If the temperature is not positive.
    """

    def __init__(self, temperature: float = 0.1, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        check_positive("model.head", temperature=temperature)
        self.temperature = temperature

    @full_precision
    def forward(self, projections: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            projections: (2 * B, D) projections, first those of the first view.

        Returns:
            Scalar loss.
        """
        one, other = projections.chunk(2)
        return nt_xent(one, other, self.temperature)
