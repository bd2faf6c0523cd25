"""SwAV: swapped assignments between views (Caron et al., NeurIPS 2020, arXiv 2006.09882)."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.methods.library import check_counts, check_positive, full_precision, lightly
from bam_mm.models.siamese import SiameseModel
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class SwAV(SiameseModel):
    """SwAV: the code of one view is predicted from another view.

    mmpretrain's ``SwAV`` has a loss that is wrong on several processes (:class:`SwAVHead`), a neck
    that fails on feature vectors, and takes the number of views from the head alone.

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of the projector, such as mmpretrain's ``NonLinearNeck``.
        head: Config of :class:`SwAVHead`.
        layout: Views of an image, at least two of them global.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If there are fewer than two global views, or the neck averages maps.
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
        if self.layout.num_global < 2:
            raise InputError(
                f"SwAV with layout.num_global={self.layout.num_global}: set it to at least 2, "
                "since only global views have codes"
            )
        if getattr(self.neck, "with_avg_pool", False):
            raise InputError(
                "model.neck.with_avg_pool=True: set it to False, since SwAV averages maps before "
                "the neck"
            )

    def loss(self, inputs: list[Tensor], data_samples: list | None = None) -> dict[str, Tensor]:
        """Compute the loss of a batch.

        Args:
            inputs: V tensors (B, 3, H, W), in the order of the layout.
            data_samples: Not used.

        Returns:
            Dict with the scalar ``loss``.

        Raises:
            InputError: If the batch has a single image.
        """
        self.check_batch(inputs)
        return {"loss": self.head(self.project(inputs), self.layout)}


@MODELS.register_module()
class SwAVHead(BaseModule):
    """The loss of SwAV by lightly, with its prototypes.

    mmpretrain's ``SwAVLoss`` adds the prototypes' totals over the processes only if one of them is
    zero, so on several GPUs each process balances the codes of its own images alone, and processes
    of which only some find a zero call different collectives. Here one process or several compute
    the same loss. There is no queue.

    Args:
        channels: Width of the projections.
        num_prototypes: Number of prototypes (paper: 3,000; lightly's CIFAR-10: 512).
        temperature: Softmax temperature of the predictions.
        sinkhorn_iters: Number of iterations of Sinkhorn's algorithm.
        epsilon: Temperature of the codes.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If lightly is not installed, or a setting is out of range.
    """

    def __init__(
        self,
        channels: int = 128,
        num_prototypes: int = 3000,
        temperature: float = 0.1,
        sinkhorn_iters: int = 3,
        epsilon: float = 0.05,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_counts(
            "model.head",
            channels=channels,
            num_prototypes=num_prototypes,
            sinkhorn_iters=sinkhorn_iters,
        )
        check_positive("model.head", temperature=temperature, epsilon=epsilon)
        # Without a bias, as the authors' and mmpretrain's; lightly's own prototypes have one.
        self.prototypes = nn.Linear(channels, num_prototypes, bias=False)
        self.loss_module = lightly("loss", "SwaVLoss", "SwAVHead")(
            temperature=temperature,
            sinkhorn_iterations=sinkhorn_iters,
            sinkhorn_epsilon=epsilon,
            sinkhorn_gather_distributed=True,
        )

    @full_precision
    def forward(self, projections: Tensor, layout: ViewLayout) -> Tensor:
        """Normalise the prototypes and compute the loss.

        Args:
            projections: (V * B, D) projections of all views, view-major.
            layout: Number of global and local views.

        Returns:
            Scalar loss.
        """
        weight = self.prototypes.weight
        weight.data.copy_(F.normalize(weight.data, dim=1))
        views = self.prototypes(F.normalize(projections, dim=1)).chunk(layout.num_views)
        count = layout.num_global
        return self.loss_module(list(views[:count]), list(views[count:])).squeeze()
