"""The head: it holds the settings of the loss and calls it."""

from __future__ import annotations

import logging
from typing import Any

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
        implementation: Key of :data:`bam_mm.losses.IMPLEMENTATIONS`: ``chunked``, fast and small in
            memory, or ``plain``, the readable definition. Both return the same numbers.
        init_cfg: Config of ``BaseModule``'s initialisation.
        **settings: Fields of :class:`~bam_mm.losses.settings.LossSettings`, such as
            ``temperature``, ``target_temperature`` and ``sinkhorn_iters``. ``target_views="all"``
            needs a teacher that sees all views (``model.teacher_views="all"``), or none.

    Attributes:
        monitor: Set to True to have ``entropies`` computed in the next calls (one more pass).
        entropies: Scalars ``attention_entropy`` and ``target_entropy`` (nats) of the last call.

    Raises:
        InputError: If a setting is unknown or out of range, or the implementation is unknown.
    """

    def __init__(
        self,
        implementation: str = "chunked",
        init_cfg: dict | list[dict] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(init_cfg)
        if implementation not in IMPLEMENTATIONS:
            raise InputError(
                f"model.head.implementation={implementation!r}: choose one of "
                f"{', '.join(IMPLEMENTATIONS)}"
            )
        known = LossSettings.__dataclass_fields__
        if unknown := [name for name in settings if name not in known]:
            raise InputError(f"model.head has no setting {unknown[0]!r}: it has {', '.join(known)}")
        try:
            self.settings = LossSettings(**settings)
        except ValueError as error:
            raise InputError(f"model.head: {error}") from error
        cold, warm = self.settings.target_temperature, self.settings.temperature
        if cold >= warm:
            print_log(
                f"target_temperature={cold} is not below temperature={warm}: the target is no "
                "sharper than the attention that follows it, and the features may collapse; the "
                f"paper takes half (model.head.target_temperature={warm / 2:g})",
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
            # An implementation of your own may compute none.
            self.entropies = {k: v for k, v in entropies.items() if v is not None}
        return matching.loss
