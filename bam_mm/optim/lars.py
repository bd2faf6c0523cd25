"""LARS that never waits for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from mmpretrain.engine.optimizers import LARS as OneByOneLARS
from torch import Tensor

from bam_mm.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(OneByOneLARS):
    """mmpretrain's LARS (You et al. 2017, algorithm 1), which reads nothing from the device.

    mmpretrain's reads two norms of every tensor that it scales, and each reading waits until the
    GPU has computed all that was queued: 106 times a step for a ResNet-50's convolutions. Here the
    norms stay on the device, and what can be done to all tensors of a group at once is. Arguments,
    settings of groups (``lars_exclude``) and state are mmpretrain's; with the same groups either
    goes on from the other's state. Values differ by rounding.
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
        rates = self._rates(group, parameters, gradients)
        if not group["momentum"]:
            _add_updates(parameters, parameters, gradients, rates, group["weight_decay"], -1)
            return
        kept = 1 - group["dampening"]
        factors = []
        for parameter in parameters:
            state = self.state[parameter]
            factors.append(kept if "momentum_buffer" in state else 1)
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
        buffers = [self.state[parameter]["momentum_buffer"] for parameter in parameters]
        torch._foreach_mul_(buffers, group["momentum"])
        for factor in sorted(set(factors)):  # A tensor's first update is not dampened.
            chosen = [row for row, other in enumerate(factors) if other == factor]
            picked = ([rows[i] for i in chosen] for rows in (buffers, parameters, gradients, rates))
            _add_updates(*picked, group["weight_decay"], factor)
        if group["nesterov"]:
            _add_updates(parameters, parameters, gradients, rates, group["weight_decay"], -1)
            torch._foreach_add_(parameters, buffers, alpha=-group["momentum"])
        else:
            torch._foreach_sub_(parameters, buffers)

    def _rates(
        self, group: dict, parameters: list[Tensor], gradients: list[Tensor]
    ) -> list[Tensor | float]:
        """The learning rate of each tensor: a scalar on its device, or one number for all."""
        if group.get("lars_exclude", False):
            return [group["lr"]] * len(parameters)
        weight, gradient = (
            torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, gradients)
        )
        trusted = group["eta"] * weight / (gradient + group["weight_decay"] * weight + self.eps)
        # Without a weight or a gradient there is no ratio to trust.
        rates = torch.where((weight != 0) & (gradient != 0), trusted, 1.0)
        return list((group["lr"] * rates).unbind())


def _add_updates(
    onto: list[Tensor],
    parameters: list[Tensor],
    gradients: list[Tensor],
    rates: list[Tensor | float],
    weight_decay: float,
    factor: float,
) -> None:
    """``onto += factor * rate * (gradient + weight_decay * parameter)``, nothing allocated.

    The decay comes first: ``onto`` may be the parameters.
    """
    if not isinstance(rates[0], Tensor):
        if weight_decay:
            torch._foreach_add_(onto, parameters, alpha=factor * rates[0] * weight_decay)
        torch._foreach_add_(onto, gradients, alpha=factor * rates[0])
        return
    if weight_decay:
        torch._foreach_addcmul_(onto, parameters, rates, value=factor * weight_decay)
    torch._foreach_addcmul_(onto, gradients, rates, value=factor)
