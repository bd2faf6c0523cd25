"""LARS that never waits for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmpretrain.engine.optimizers import LARS as OneByOneLARS
from torch import Tensor

from bam_mm.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(OneByOneLARS):
    """mmpretrain's LARS (You et al. 2017, algorithm 1), all tensors of a group at once.

    mmpretrain's reads two norms of every tensor that it scales, and each reading waits until the
    GPU has computed all that was queued: 106 times a step for a ResNet-50. Here the norms stay on
    the device. Arguments, settings of groups (``lars_exclude``) and state are mmpretrain's, so
    checkpoints of either can be resumed with the other; values differ by rounding.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Take a step.

        Args:
            closure: Evaluates the model again and returns the loss.

        Returns:
            What the closure returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._step_group(group, parameters)
        return loss

    def _step_group(self, group: dict, parameters: list[Tensor]) -> None:
        gradients = [p.grad for p in parameters]
        updates = torch._foreach_add(gradients, parameters, alpha=group["weight_decay"])
        if group.get("lars_exclude", False):
            torch._foreach_mul_(updates, group["lr"])
        else:
            torch._foreach_mul_(updates, self._rates(group, parameters, gradients))
        if group["momentum"]:
            updates = self._with_momentum(group, parameters, updates)
        torch._foreach_sub_(parameters, updates)

    def _rates(
        self, group: dict, parameters: list[Tensor], gradients: list[Tensor]
    ) -> list[Tensor]:
        """The learning rate of each tensor, a scalar on its device."""
        weight, gradient = (
            torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, gradients)
        )
        trusted = group["eta"] * weight / (gradient + group["weight_decay"] * weight + self.eps)
        # Without a weight or a gradient there is no ratio to trust.
        rates = torch.where((weight > 0) & (gradient > 0), trusted, 1.0)
        return list((group["lr"] * rates).unbind())

    def _with_momentum(
        self, group: dict, parameters: list[Tensor], updates: list[Tensor]
    ) -> list[Tensor]:
        started = []
        for parameter, update in zip(parameters, updates, strict=True):
            if "momentum_buffer" in self.state[parameter]:
                started.append((self.state[parameter]["momentum_buffer"], update))
            else:
                self.state[parameter]["momentum_buffer"] = update.clone()
        if started:
            buffers, added = map(list, zip(*started, strict=True))
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, added, alpha=1 - group["dampening"])
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        if group["nesterov"]:
            return list(torch._foreach_add(updates, buffers, alpha=group["momentum"]))
        return buffers
