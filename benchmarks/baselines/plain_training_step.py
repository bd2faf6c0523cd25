"""Baselines of parts of a training step: tensor by tensor, with graph and matrices in memory."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def ema_by_loop(teacher: list[Tensor], student: list[Tensor], momentum: float) -> None:
    """Move the teacher's tensors towards the student's, one after the other.

    Args:
        teacher: Tensors of the teacher, changed in place.
        student: Tensors of the student, with the same shapes.
        momentum: Weight of the teacher's previous value.
    """
    for mine, theirs in zip(teacher, student, strict=True):
        mine.mul_(momentum).add_(theirs, alpha=1.0 - momentum)


def materialised_attention(
    query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0
) -> Tensor:
    """Compute attention with the matrix of all pairs in memory, before and after the softmax.

    Args:
        query: (B, heads, L, d) queries.
        key: (B, heads, L, d) keys.
        value: (B, heads, L, d) values.
        dropout_p: Dropout rate of the attention; only 0 is supported.

    Returns:
        (B, heads, L, d) output.
    """
    if dropout_p:
        raise ValueError(f"dropout_p={dropout_p}: this baseline does not support dropout; use 0")
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ value


class TeacherWithGraph:
    """Teacher whose output is detached only after its autograd graph has been built.

    Args:
        teacher: The momentum teacher.
        num_global: Number of global views, which are the teacher's input.
    """

    def __init__(self, teacher: nn.Module, num_global: int) -> None:
        self.teacher, self.num_global = teacher, num_global
        self.output: Tensor | None = None

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        """Project the global views; the graph is kept until the next call."""
        with torch.enable_grad():
            self.output = self.teacher(torch.cat(inputs[: self.num_global]))
        return self.output.detach()
