"""Neck and head for mmpretrain's SwAV: any backbone, and codes that span all processes."""

from __future__ import annotations

import torch
from mmengine.model import BaseModule
from mmpretrain.models.necks import SwAVNeck as MapNeck
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.methods.library import at_least_float32, check_positive, lightly
from bam_mm.models.siamese import pooled
from bam_mm.registry import MODELS


@MODELS.register_module()
class SwAVNeck(MapNeck):
    """mmpretrain's projector of SwAV for maps and for feature vectors.

    mmpretrain's own fails on a vector, such as a ViT's [CLS] feature. The arguments are the same.
    """

    def forward(self, x: list[tuple[Tensor, ...] | Tensor]) -> Tensor:
        """Project the features of all views.

        Args:
            x: Outputs of the backbone, one for each resolution: maps (N, C, H, W), which are
                averaged over H and W, or features (N, C), or tuples whose last entry is one.

        Returns:
            (sum of N, D) unit vectors.
        """
        return self.forward_projection(torch.cat([pooled(output) for output in x]))


@MODELS.register_module()
class SwAVHead(BaseModule):
    """The loss of SwAV (Caron et al., NeurIPS 2020, arXiv 2006.09882) by lightly.

    mmpretrain's ``SwAVLoss`` adds the prototypes' totals over the processes only if one of them is
    zero, so on several GPUs each process balances the codes of its own images alone, and processes
    of which only some find a zero wait for each other. Here one process or several compute the
    same loss. There is no queue, which only batches below 512 need.

    Args:
        channels: Width of the projections, which the neck normalises (``with_l2norm``).
        num_prototypes: Number of prototypes (paper: 3,000; lightly's CIFAR-10: 512).
        num_crops: Number of global views, then of local ones, as in mmpretrain's ``SwAVLoss``.
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
        num_crops: tuple[int, ...] | list[int] = (2,),
        temperature: float = 0.1,
        sinkhorn_iters: int = 3,
        epsilon: float = 0.05,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_positive(
            "model.head",
            channels=channels,
            num_prototypes=num_prototypes,
            temperature=temperature,
            sinkhorn_iters=sinkhorn_iters,
            epsilon=epsilon,
        )
        self.num_global, self.num_views = num_crops[0], sum(num_crops)
        if self.num_global < 2:
            raise InputError(
                f"model.head.num_crops={list(num_crops)}: SwAV needs at least two global views"
            )
        # Without a bias, as the authors' and mmpretrain's; lightly's own prototypes have one.
        self.prototypes = nn.Linear(channels, num_prototypes, bias=False)
        self.loss_module = lightly("loss", "SwaVLoss", "SwAVHead")(
            temperature=temperature,
            sinkhorn_iterations=sinkhorn_iters,
            sinkhorn_epsilon=epsilon,
            sinkhorn_gather_distributed=True,
        )

    def loss(self, pred: Tensor) -> Tensor:
        """Normalise the prototypes and compute the loss.

        Args:
            pred: (V * B, D) unit vectors of all views, view-major, global views first.

        Returns:
            Scalar loss.
        """
        weight = self.prototypes.weight
        weight.data.copy_(nn.functional.normalize(weight.data, dim=1))
        views = at_least_float32(self.prototypes(pred)).chunk(self.num_views)
        found = self.loss_module(list(views[: self.num_global]), list(views[self.num_global :]))
        return found.squeeze()
