"""The head: it holds the settings of the loss and calls it."""

from __future__ import annotations

import logging

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.losses import IMPLEMENTATIONS, LossSettings
from bam_mm.registry import MODELS
from bam_mm.views import ViewLayout


@MODELS.register_module()
class BAMHead(BaseModule):
    """The loss of BAM as a head of mmpretrain.

    Args:
        temperature: Softmax temperature of the student's attention.
        target_temperature: Softmax temperature of the balanced target.
        sinkhorn_iters: Number of Sinkhorn iterations; 0 switches balancing off.
        mask_positives: Whether positives are excluded.
        top_k: Number of largest entries kept in a target; 0 keeps all.
        global_normalisation: Whether softmax and balancing span all key views, or each pair of
            views is a matrix of its own.
        implementation: Key of :data:`bam_mm.losses.IMPLEMENTATIONS`: ``chunked``, fast and small in
            memory, or ``plain``, the readable definition. Both return the same numbers.
        init_cfg: Config of ``BaseModule``'s initialisation.

    Attributes:
        monitor: Set to True to have ``entropies`` computed in the next calls (one more pass).
        entropies: Scalars ``attention_entropy`` and ``target_entropy`` (nats) of the last call.

    Raises:
        InputError: If a temperature is not positive, or the implementation is unknown.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        target_temperature: float = 0.05,
        sinkhorn_iters: int = 3,
        mask_positives: bool = True,
        top_k: int = 0,
        global_normalisation: bool = True,
        implementation: str = "chunked",
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if implementation not in IMPLEMENTATIONS:
            raise InputError(
                f"model.head.implementation={implementation!r}: choose one of "
                f"{', '.join(IMPLEMENTATIONS)}"
            )
        try:
            self.settings = LossSettings(
                temperature=temperature,
                target_temperature=target_temperature,
                sinkhorn_iters=sinkhorn_iters,
                mask_positives=mask_positives,
                top_k=top_k,
                global_normalisation=global_normalisation,
            )
        except ValueError as error:
            raise InputError(f"model.head: {error}") from error
        if target_temperature >= temperature:
            print_log(
                f"target_temperature={target_temperature} is not below temperature={temperature}: "
                "the target is no sharper than the attention that follows it, and the features may "
                "collapse; the paper takes half (model.head.target_temperature="
                f"{temperature / 2:g})",
                logger="current",
                level=logging.WARNING,
            )
        self.matching = IMPLEMENTATIONS[implementation]
        self.monitor = False
        self.entropies: dict[str, Tensor] = {}

    def forward(self, student: Tensor, teacher: Tensor | None, layout: ViewLayout) -> Tensor:
        """Compute the loss.

        Args:
            student: (V * B, D) projections of all views, view-major.
            teacher: (G * B, D) or (V * B, D) projections, or None.
            layout: Number of global and local views.

        Returns:
            Scalar loss.
        """
        matching = self.matching(
            student,
            teacher,
            num_views=layout.num_views,
            num_global=layout.num_global,
            settings=self.settings,
            with_entropies=self.monitor,
        )
        if self.monitor:
            entropies = {
                "attention_entropy": matching.attention_entropy,
                "target_entropy": matching.target_entropy,
            }
            # A custom implementation may not compute them.
            self.entropies = {k: v for k, v in entropies.items() if v is not None}
        return matching.loss
