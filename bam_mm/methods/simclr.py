"""SimCLR (Chen et al., ICML 2020, arXiv 2002.05709), with the whole gradient over processes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.methods.library import check_positive, first, lightly
from bam_mm.models.siamese import SiameseModel
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
        if self.layout.num_global != 2 or self.layout.num_local:
            raise InputError(
                f"SimCLR with layout.num_global={self.layout.num_global} and "
                f"layout.num_local={self.layout.num_local}: set them to 2 and 0, since it compares "
                "two views"
            )

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
        if len(inputs[0]) < 2:
            raise InputError(
                f"a batch of {len(inputs[0])} image per process: SimCLR compares it with the other "
                "images of the batch; set train_dataloader.batch_size to at least 2"
            )
        projections = first(self.neck(self.backbone(torch.cat(inputs))))
        self.last_projection = projections.detach()
        return {"loss": self.head(projections)}


@MODELS.register_module()
class SimCLRHead(BaseModule):
    """The loss of SimCLR by lightly, with the views of all processes as negatives.

    Args:
        temperature: Softmax temperature.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If lightly is not installed, or the temperature is not positive.
    """

    def __init__(self, temperature: float = 0.1, init_cfg: dict | list[dict] | None = None) -> None:
        super().__init__(init_cfg)
        check_positive("model.head", temperature=temperature)
        self.loss_module = lightly("loss", "NTXentLoss", "SimCLRHead")(
            temperature=temperature, gather_distributed=True
        )

    def forward(self, projections: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            projections: (2 * B, D) projections, first those of the first view.

        Returns:
            Scalar loss.
        """
        return self.loss_module(*projections.chunk(2))
