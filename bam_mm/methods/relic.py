"""ReLIC: invariant causal mechanisms (Mitrovic et al., ICLR 2021, arXiv 2010.07922)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.methods.contrast import log_probabilities, own_columns
from bam_mm.methods.library import check_positive, full_precision
from bam_mm.models.siamese import SiameseModel
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


def relic_loss(
    student: Tensor,
    teacher: Tensor,
    *,
    num_views: int,
    num_global: int,
    temperature: float = 0.1,
    invariance_weight: float = 1.0,
) -> Tensor:
    """Compute the loss of ReLIC (section 3).

    For a pair of views a, b of the images i::

        p_ab(i) = softmax over j of <student[a, i], teacher[b, j]> / temperature     (B,)
        loss = mean over a != b and i of -log p_ab(i)[i]
             + invariance_weight * mean over a != b and i of KL(p_ab(i) || p_ba(i))

    with unit vectors, b and (in the second line) a a global view, and j over the images of all
    processes.

    Args:
        student: (V * B, D) outputs of the student for all views, view-major.
        teacher: (G * B, D) outputs of the teacher for the global views, without a gradient.
        num_views: Number of views V.
        num_global: Number of global views G, at least 2.
        temperature: Softmax temperature.
        invariance_weight: Weight of the invariance penalty (the paper's alpha).

    Returns:
        Scalar loss. Averaged over processes, it is that of the whole batch.
    """
    views = student.chunk(num_views)
    targets = teacher.detach().chunk(num_global)
    columns = own_columns(views[0])
    pairs = [(a, b) for b in range(num_global) for a in range(num_views) if a != b]
    log_p = {(a, b): log_probabilities(views[a], targets[b], temperature) for a, b in pairs}
    contrast = torch.stack([F.nll_loss(log_p[pair], columns) for pair in pairs]).mean()
    orders = [order for a, b in combinations(range(num_global), 2) for order in ((a, b), (b, a))]
    penalties = [
        F.kl_div(log_p[b, a], log_p[a, b], log_target=True, reduction="batchmean")
        for a, b in orders
    ]
    return contrast + invariance_weight * torch.stack(penalties).mean()


@MODELS.register_module()
class ReLIC(SiameseModel):
    """ReLIC: contrastive learning whose similarities must not depend on the augmentation.

    The paper's critic is the neck, of which the teacher has its moving average. Each view has its
    own forward pass, so BatchNorm sees one view at a time.

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of the critic, such as mmpretrain's ``NonLinearNeck``.
        head: Config of :class:`ReLICHead`.
        layout: Views of an image, at least two of them global.
        data_preprocessor: Config of the data preprocessor.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If there are fewer than two global views.
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
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if self.layout.num_global < 2:
            raise InputError(
                f"ReLIC with layout.num_global={self.layout.num_global}: set it to at least 2, "
                "since the invariance penalty compares the targets of two views"
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
        student = torch.cat(self.project_each(inputs))
        target = torch.cat(self.project_each_by_teacher(inputs[: self.layout.num_global]))
        return {"loss": self.head(student, target, self.layout)}


@MODELS.register_module()
class ReLICHead(BaseModule):
    """The loss of ReLIC as a head of mmpretrain, see :func:`relic_loss`.

    Args:
        temperature: Softmax temperature.
        invariance_weight: Weight of the invariance penalty; 0 leaves the contrastive loss.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If a setting is out of range.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        invariance_weight: float = 1.0,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_positive("model.head", temperature=temperature)
        if not invariance_weight >= 0:
            raise InputError(
                f"model.head.invariance_weight={invariance_weight}: must not be negative"
            )
        self.temperature, self.invariance_weight = temperature, invariance_weight

    @full_precision
    def forward(self, student: Tensor, teacher: Tensor, layout: ViewLayout) -> Tensor:
        """Compute the loss.

        Args:
            student: (V * B, D) outputs of all views, view-major.
            teacher: (G * B, D) outputs of the global views.
            layout: Number of global and local views.

        Returns:
            Scalar loss.
        """
        return relic_loss(
            student,
            teacher,
            num_views=layout.num_views,
            num_global=layout.num_global,
            temperature=self.temperature,
            invariance_weight=self.invariance_weight,
        )
