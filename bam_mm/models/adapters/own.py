"""Backbones of your own: any module that returns a vector, tokens or maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bam_mm.errors import InputError
from bam_mm.models.adapters.contract import BackboneAdapter, InputSizes, Stage, pyramid
from bam_mm.models.adapters.measuring import deepest, evaluating, measured


class OwnAdapter(BackboneAdapter):
    """Adapter of a module that no library is known for.

    The module maps (N, 3, H, W) images to one tensor, or to a tuple of maps in the order of the
    forward pass: a vector (N, D), tokens (N, L, C) or maps (N, C, h, w). It may have the attribute
    ``num_extra_tokens``, the number of tokens in front of the patches, the first of which is [CLS].
    The order of the channels is checked by a second image of another width: only the last side of
    an NCHW map follows it.
    """

    library = "own"

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Maps that the module returns, measured once on a small black image."""
        found, side = measured(self, self._outputs)
        stages = deepest(self, found, side, by_layer=False)
        self._check_order(found, side)
        return pyramid(stages)

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens in front of the patches, as the module states it."""
        return int(getattr(self.backbone, "num_extra_tokens", 0))

    @cached_property
    def token_blocks(self) -> int:
        """Number of outputs with tokens, measured once on a small black image."""
        return sum(x.ndim == 3 for x in measured(self, self._outputs)[0])

    @property
    def sizes(self) -> InputSizes:
        """Unknown: the module itself reports a size that it does not take."""
        return InputSizes()

    def maps(
        self, images: Tensor, stages: Sequence[int] | None = None, *, norm: str = "last"
    ) -> list[Tensor]:
        """Return maps as the module computes them, see :meth:`BackboneAdapter.maps`."""
        chosen = self.chosen(stages)
        found = self._outputs(images)
        return [self.checked(found[stage.place], stage, images) for stage in chosen]

    def tokens(self, images: Tensor, blocks: int = 1) -> list[Tensor]:
        """Return the last outputs, which must be tokens, see :meth:`BackboneAdapter.tokens`."""
        found = self._outputs(images)[-blocks:]
        if len(found) < blocks:
            raise InputError(
                f"model.blocks={blocks}: {self.name} returns {len(found)} outputs only; choose at "
                f"most {len(found)}"
            )
        for x in found:
            if x.ndim != 3:
                raise self.misfit(x, "tokens (N, L, C)")
        return found

    def final(self, images: Tensor) -> Tensor:
        """Return the last output as it is, see :meth:`BackboneAdapter.final`."""
        return self._outputs(images)[-1]

    def vector(self, images: Tensor) -> Tensor:
        """Return the last output, [CLS] of tokens, or the mean of a map or of tokens."""
        x = self.final(images)
        if x.ndim == 4:
            return x.mean(dim=(2, 3))
        if x.ndim == 3:
            return x.mean(dim=1) if self.cls_index is None else x[:, self.cls_index]
        return x

    def _outputs(self, images: Tensor) -> list[Tensor]:
        output: Any = self.backbone(images)
        found = list(output) if isinstance(output, (tuple, list)) else [output]
        found = [x for x in found if x is not None]  # mmpretrain's Inception has auxiliary logits.
        for x in found or [None]:
            if not isinstance(x, Tensor) or x.ndim not in (2, 3, 4) or len(x) != len(images):
                raise self.misfit(x, "a vector (N, D), tokens (N, L, C) or maps (N, C, h, w)")
        return found

    @torch.no_grad()
    def _check_order(self, found: Sequence[Tensor], side: int) -> None:
        wide = found[0].new_zeros(1, 3, side, 2 * side)
        try:
            with evaluating(self.backbone):
                other = self._outputs(wide)
        except (AssertionError, RuntimeError, ValueError):
            other = None  # It takes one size only, so a square map must be in the last two places.
        for place, x in enumerate(found):
            shape = tuple(x.shape)
            wanted = (1, *shape[1:3], 2 * shape[3])
            good = shape[2] == shape[3] != shape[1] if other is None else None
            if good is None:
                seen = tuple(other[place].shape) if other is not None else ()
                good = seen[:3] == wanted[:3] and abs(seen[3] - wanted[3]) <= 1
            if not good:
                raise self.misfit(x, "a map (N, C, h, w)", f"output {place}")
