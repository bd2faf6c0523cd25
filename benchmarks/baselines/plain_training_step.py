"""Parts of a training step the straightforward way: tensor by tensor, graph and matrices kept."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def ema_by_loop(teacher: list[Tensor], student: list[Tensor], momentum: float) -> None:
    """Move the teacher's tensors towards the student's, one after the other.

    Args:
        teacher: Changed in place.
        student: Of the same shapes.
        momentum: What is kept of the teacher.
    """
    for mine, theirs in zip(teacher, student, strict=True):
        mine.mul_(momentum).add_(theirs, alpha=1.0 - momentum)


def materialised_attention(
    query: Tensor, key: Tensor, value: Tensor, dropout_p: float = 0.0
) -> Tensor:
    """Attention with the matrix of all pairs in memory, before and after the softmax.

    Args:
        query: (B, heads, L, d).
        key: Likewise.
        value: Likewise.
        dropout_p: Of the attention; not supported.

    Returns:
        (B, heads, L, d).
    """
    if dropout_p:
        raise ValueError(f"dropout_p={dropout_p}: this baseline has none")
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1) @ value


class TeacherWithGraph:
    """A teacher whose target is detached only after its gradient graph was made.

    Args:
        teacher: The momentum teacher.
        num_global: How many of the views it sees.
    """

    def __init__(self, teacher: nn.Module, num_global: int) -> None:
        self.teacher, self.num_global = teacher, num_global
        self.output: Tensor | None = None

    def __call__(self, inputs: list[Tensor]) -> Tensor:
        """Project the global views; the graph stays as long as the last output does."""
        with torch.enable_grad():
            self.output = self.teacher(torch.cat(inputs[: self.num_global]))
        return self.output.detach()
