"""Momentum teacher and the schedule of its momentum."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


class MomentumTeacher(nn.Module):
    """Copy of backbone and neck whose weights are a moving average of the student's.

    After the start, buffers (BatchNorm statistics) come from the teacher's own forward passes and
    are not copied from the student. Stochastic depth and dropout are always off.

    Args:
        backbone: Backbone of the student.
        neck: Projector of the student.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.neck = copy.deepcopy(neck)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Project images.

        Args:
            x: (N, 3, H, W) normalised images.

        Returns:
            (N, D) projections.
        """
        return self.neck(self.backbone(x))

    def train(self, mode: bool = True) -> MomentumTeacher:
        """Set the mode, but keep dropout and stochastic depth off for deterministic targets."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) or hasattr(module, "drop_prob"):
                module.eval()
        return self

    @torch.no_grad()
    def copy_from(self, backbone: nn.Module, neck: nn.Module) -> None:
        """Copy all parameters and buffers of the student, at the start of training."""
        self.backbone.load_state_dict(backbone.state_dict())
        self.neck.load_state_dict(neck.state_dict())

    @torch.no_grad()
    def update(self, backbone: nn.Module, neck: nn.Module, momentum: float) -> None:
        """Update the weights: teacher = momentum * teacher + (1 - momentum) * student.

        Args:
            backbone: Backbone of the student.
            neck: Projector of the student.
            momentum: Weight of the teacher in the moving average, in [0, 1].
        """
        teachers: list[Tensor] = [*self.backbone.parameters(), *self.neck.parameters()]
        students = [p.detach() for p in (*backbone.parameters(), *neck.parameters())]
        torch._foreach_lerp_(teachers, students, 1.0 - momentum)


def momentum_at(step: int, total: int, base: float = 0.995, end: float = 1.0) -> float:
    """Return the momentum of an iteration, on a cosine schedule from ``base`` to ``end``.

    Args:
        step: Iteration, counted from 0.
        total: Number of iterations of the whole training.
        base: Momentum at iteration 0 (released code: .995).
        end: Momentum at the end of the training.
    """
    progress = min(step / total, 1.0) if total else 1.0
    return end - (end - base) * (1.0 + math.cos(math.pi * progress)) / 2.0
