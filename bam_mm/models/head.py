"""The head: it holds the loss's settings and calls it."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor

from bam_mm.losses import match_attention
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class BAMHead(BaseModule):
    """Settings of :func:`bam_mm.losses.bam_loss`, and the call.

    Args:
        temperature: Of the source's attention.
        target_temperature: Of the balanced target.
        sinkhorn_iters: Iterations of the balancing; 0 switches it off.
        mask_positives: Whether positives are excluded.
        top_k: Keys kept in a target, 0 for all.
        global_normalisation: Whether softmax and balancing span all key views, or each pair of
            views is a matrix of its own.
        init_cfg: For ``BaseModule``.

    Attributes:
        monitor: Set to True to have ``entropies`` computed in the next calls (it costs a pass).
        entropies: Scalars ``attention_entropy`` and ``target_entropy`` (nats) of the last call.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        target_temperature: float = 0.05,
        sinkhorn_iters: int = 3,
        mask_positives: bool = True,
        top_k: int = 0,
        global_normalisation: bool = True,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if target_temperature >= temperature:
            print_log(
                f"target_temperature={target_temperature} is not below temperature={temperature}: "
                "the target is no sharper than the attention that follows it, and the features may "
                "collapse; the paper takes half (model.head.target_temperature="
                f"{temperature / 2:g})",
                logger="current",
                level=30,
            )
        self.settings = dict(
            temperature=temperature,
            target_temperature=target_temperature,
            sinkhorn_iters=sinkhorn_iters,
            mask_positives=mask_positives,
            top_k=top_k,
            global_normalisation=global_normalisation,
        )
        self.monitor = False
        self.entropies: dict[str, Tensor] = {}

    def forward(self, student: Tensor, teacher: Tensor | None, layout: ViewLayout) -> Tensor:
        """Compute the loss.

        Args:
            student: (V * B, D) projections of all views, view-major.
            teacher: (G * B, D) or (V * B, D), or None.
            layout: Number of views.
        """
        matching = match_attention(
            student,
            teacher,
            num_views=layout.num_views,
            num_global=layout.num_global,
            with_entropies=self.monitor,
            **self.settings,
        )
        if self.monitor:
            self.entropies = {
                "attention_entropy": matching.attention_entropy,
                "target_entropy": matching.target_entropy,
            }
        return matching.loss
