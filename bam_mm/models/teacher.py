"""The momentum teacher."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


class MomentumTeacher(nn.Module):
    """A copy of backbone and neck whose weights follow the student's as a moving average.

    Buffers (BatchNorm statistics) are the teacher's own: they come from its own forward passes and
    are never copied from the student. Stochastic depth and dropout are off in it.

    Args:
        backbone: The student's.
        neck: The student's projector.
    """

    def __init__(self, backbone: nn.Module, neck: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.neck = copy.deepcopy(neck)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Project images (N, 3, H, W) to (N, D)."""
        return self.neck(self.backbone(x))

    def train(self, mode: bool = True) -> MomentumTeacher:
        """Set the mode; what would make the target random stays in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.dropout._DropoutNd) or hasattr(module, "drop_prob"):
                module.eval()
        return self

    @torch.no_grad()
    def copy_from(self, backbone: nn.Module, neck: nn.Module) -> None:
        """Take over all parameters and buffers: the start of training."""
        self.backbone.load_state_dict(backbone.state_dict())
        self.neck.load_state_dict(neck.state_dict())

    @torch.no_grad()
    def update(self, backbone: nn.Module, neck: nn.Module, momentum: float) -> None:
        """Move the weights: teacher = momentum * teacher + (1 - momentum) * student.

        Args:
            backbone: The student's.
            neck: The student's.
            momentum: In [0, 1].
        """
        mine = [*self.backbone.parameters(), *self.neck.parameters()]
        students = [p.detach() for p in (*backbone.parameters(), *neck.parameters())]
        torch._foreach_lerp_(mine, students, 1.0 - momentum)


def momentum_at(step: int, total: int, base: float = 0.995, end: float = 1.0) -> float:
    """Momentum of an iteration: a cosine from ``base`` to ``end``, from the iteration alone.

    Args:
        step: Iteration, from 0.
        total: Iterations of the whole training.
        base: Momentum at iteration 0 (released code: .995).
        end: Momentum at the end.
    """
    progress = min(step / total, 1.0) if total else 1.0
    return end - (end - base) * (1.0 + math.cos(math.pi * progress)) / 2.0
