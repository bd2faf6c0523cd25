"""NNCLR: nearest-neighbour contrastive learning (Dwibedi et al., ICCV 2021, arXiv 2104.14548)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.distributed import world_size
from bam_mm.errors import InputError
from bam_mm.methods.contrast import log_probabilities, nt_xent, own_columns
from bam_mm.methods.library import check_counts, check_positive, full_precision, lightly
from bam_mm.models.siamese import SiameseModel, neck_output
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout

NEGATIVES = ("both", "other")
"""Rows that are negatives: of both sets, as in lightly's NT-Xent, or of the predictions only."""


@MODELS.register_module()
class NNCLR(SiameseModel):
    """NNCLR: an image's prediction is matched with the nearest neighbour of its other view.

    Each of the two views has its own forward pass, so BatchNorm sees one view at a time. There is
    no teacher.

    Args:
        backbone: Config of the backbone. Its last output is a feature vector (N, C) or a map.
        neck: Config of the projector, such as mmpretrain's ``NonLinearNeck``.
        predictor: Config of the predictor, a neck on the projections.
        head: Config of :class:`NNCLRHead`.
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
            use_teacher=False,
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
            InputError: If the batch has a single image, or more images than the queue.
        """
        self.check_batch(inputs)
        projections = self.project_each(inputs)
        predictions = [neck_output(self.predictor((z,))) for z in projections]
        return {"loss": self.head(projections, predictions)}


@MODELS.register_module()
class NNCLRHead(BaseModule):
    """The loss of NNCLR with its queue of projections.

    Across processes, the negatives are the rows of all processes, and every process adds the same
    rows to its queue. One process or several compute the same loss, as long as their queues start
    equal, which mmengine's common seed ensures.

    Args:
        channels: Width of the projections.
        queue_size: Number of projections in the queue (paper: 98,304; lightly's CIFAR-10: 4,096).
        temperature: Softmax temperature.
        negatives: ``both`` takes the other rows of neighbours and predictions as negatives
            (NT-Xent, as in lightly's published CIFAR-10 results), ``other`` the predictions of the
            other images only (the paper's algorithm 1).
        init_cfg: Config of ``BaseModule``'s initialisation.

    Raises:
        InputError: If lightly is not installed, or a setting is out of range.
    """

    def __init__(
        self,
        channels: int = 256,
        queue_size: int = 98304,
        temperature: float = 0.1,
        negatives: str = "both",
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_counts("model.head", channels=channels, queue_size=queue_size)
        check_positive("model.head", temperature=temperature)
        if negatives not in NEGATIVES:
            raise InputError(
                f"model.head.negatives={negatives!r}: choose one of {', '.join(NEGATIVES)}"
            )
        self.temperature, self.negatives = temperature, negatives
        self.queue = lightly("models.modules", "NNMemoryBankModule", "NNCLRHead")(
            size=(queue_size, channels)
        )
        # Its constructor does not offer this option of the base class.
        self.queue.gather_distributed = True

    @full_precision
    def forward(self, projections: list[Tensor], predictions: list[Tensor]) -> Tensor:
        """Look up the neighbours, add the second view to the queue, and compute the loss.

        Args:
            projections: Two tensors (B, D), one for each view.
            predictions: Two tensors (B, D) of the predictor.

        Returns:
            Scalar loss.

        Raises:
            InputError: If the batch has a single image, or all processes together have more images
                than the queue, or the projections have another width.
        """
        self._check(*projections[0].shape)
        # lightly adds the rows as they are, and NT-Xent normalises what it finds.
        queries = [z.detach() for z in projections]
        neighbours = [self.queue(z, update=index == 1) for index, z in enumerate(queries)]
        pairs = ((neighbours[0], predictions[1]), (neighbours[1], predictions[0]))
        return torch.stack([self._contrast(*pair) for pair in pairs]).mean()

    def _check(self, batch: int, width: int) -> None:
        """Check that the rows of a batch can be compared, and fit into the queue."""
        size, channels = self.queue.bank.shape
        if width != channels:
            raise InputError(
                f"model.head.channels={channels}, but the neck's projections have {width} channels:"
                f" set model.head.channels={width}"
            )
        if batch * world_size() > size:
            raise InputError(
                f"a batch of {batch} images on each of {world_size()} processes does not fit into "
                f"model.head.queue_size={size}: set the queue to several batches"
            )

    def _contrast(self, neighbours: Tensor, predictions: Tensor) -> Tensor:
        if self.negatives == "both":
            return nt_xent(neighbours, predictions, self.temperature)
        log_p = log_probabilities(neighbours, predictions, self.temperature)
        return F.nll_loss(log_p, own_columns(neighbours))

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the queue, which lightly leaves out of the state, for an exact resume."""
        return {"bank": self.queue.bank, "pointer": self.queue.bank_ptr}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Restore the queue.

        Args:
            state: What :meth:`get_extra_state` returned.

        Raises:
            InputError: If the queue has another size.
        """
        if state["bank"].shape != self.queue.bank.shape:
            raise InputError(
                f"the checkpoint's queue has {len(state['bank'])} rows of "
                f"{state['bank'].shape[1]} channels: set model.head.queue_size and "
                f"model.head.channels to these instead of {tuple(self.queue.bank.shape)}"
            )
        self.queue.bank.copy_(state["bank"])
        self.queue.bank_ptr.copy_(state["pointer"])
