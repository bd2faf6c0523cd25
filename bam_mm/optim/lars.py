"""LARS that never waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from mmpretrain.engine.optimizers import LARS as OneByOneLARS
from torch import Tensor

from bam_mm.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(OneByOneLARS):
    """mmpretrain's LARS (You et al. 2017, algorithm 1) without reading values from the device.

    mmpretrain's implementation reads two norms per scaled tensor, and each read waits until the GPU
    has finished all queued work: 106 times per step for the convolutions of a ResNet-50. Here the
    norms stay on the device, and all tensors of a group are processed at once where possible.
    Arguments, group settings (``lars_exclude``) and state are the same, so with the same groups
    each implementation can resume from the other's state. The values differ by rounding.

    With a ``GradScaler`` (float16), a step with infinite gradients is skipped on the device:
    parameters and momentum keep every bit. With dampening, the first update depends on whether
    earlier steps were skipped, so ``GradScaler`` reads that from the device.
    """

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether ``GradScaler`` leaves unscaling and skipping to :meth:`step`, as torch names it.

        The first update of a tensor is the one without a momentum buffer. A skipped step creates
        the buffer, which makes no difference without dampening.
        """
        return not any(group["dampening"] for group in self.param_groups)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Perform one optimization step.

        Args:
            closure: Function that evaluates the model again and returns the loss.

        Returns:
            Loss from the closure, or None without a closure.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # Set by GradScaler during a step: scalars on the device. Without a scale, the gradients are
        # already unscaled.
        found_inf: Tensor | None = getattr(self, "found_inf", None)
        scale: Tensor | None = getattr(self, "grad_scale", None)
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            if scale is not None:
                gradients = [p.grad for p in parameters if p.grad is not None]
                torch._foreach_mul_(gradients, scale.double().reciprocal().float())
            if found_inf is None:
                self._step_group(group, parameters)
            else:
                self._step_group_unless(found_inf != 0, group, parameters)
        return loss

    def _step_group_unless(self, skip: Tensor, group: dict, parameters: list[Tensor]) -> None:
        """Perform the step unless the scalar ``skip`` on the device is true.

        Only the device knows it, so the step is always computed, and undone where it is skipped.
        """
        tensors = [*parameters]
        if group["momentum"]:
            for parameter in parameters:
                buffer = self.state[parameter].get("momentum_buffer")
                tensors.append(torch.zeros_like(parameter) if buffer is None else buffer)
        before = [tensor.clone() for tensor in tensors]
        self._step_group(group, parameters)
        if group["momentum"]:  # The buffers of first steps are new.
            tensors[len(parameters) :] = [self.state[p]["momentum_buffer"] for p in parameters]
        for tensor, old in zip(tensors, before, strict=True):
            tensor.copy_(torch.where(skip, old, tensor))

    def _step_group(self, group: dict, parameters: list[Tensor]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
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
        for factor in sorted(set(factors)):  # The first update of a tensor is not dampened.
            chosen = [row for row, other in enumerate(factors) if other == factor]
            _add_updates(
                [buffers[i] for i in chosen],
                [parameters[i] for i in chosen],
                [gradients[i] for i in chosen],
                [rates[i] for i in chosen],
                group["weight_decay"],
                factor,
            )
        if group["nesterov"]:
            _add_updates(parameters, parameters, gradients, rates, group["weight_decay"], -1)
            torch._foreach_add_(parameters, buffers, alpha=-group["momentum"])
        else:
            torch._foreach_sub_(parameters, buffers)

    def _rates(
        self, group: dict, parameters: list[Tensor], gradients: list[Tensor]
    ) -> list[Tensor | float]:
        """Return the learning rate of each tensor: scalars on the device, or the group's number."""
        if group.get("lars_exclude", False):
            return [group["lr"]] * len(parameters)
        weight, gradient = (
            torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, gradients)
        )
        trusted = group["eta"] * weight / (gradient + group["weight_decay"] * weight + self.eps)
        # If a norm is 0, the ratio is meaningless and the learning rate is not scaled.
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
    """Compute ``onto += factor * rate * (gradient + weight_decay * parameter)`` in place.

    The decay is added first, because ``onto`` may be the parameters themselves.
    """
    if not isinstance(rates[0], Tensor):
        if weight_decay:
            torch._foreach_add_(onto, parameters, alpha=factor * rates[0] * weight_decay)
        torch._foreach_add_(onto, gradients, alpha=factor * rates[0])
        return
    scalars = cast("list[Tensor]", rates)
    if weight_decay:
        torch._foreach_addcmul_(onto, parameters, scalars, value=factor * weight_decay)
    torch._foreach_addcmul_(onto, gradients, scalars, value=factor)
