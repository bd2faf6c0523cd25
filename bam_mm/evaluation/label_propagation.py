"""Label propagation between the frames of a video by frozen patch features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bam_mm.evaluation.patch_matching import PatchMatches, match_patches


def propagate_labels(
    target: Tensor,
    context: Tensor,
    labels: Tensor,
    *,
    grid: tuple[int, int],
    topk: int | Sequence[int] = 5,
    radius: int = 12,
    temperature: float = 0.1,
    chunk: tuple[int, int] | None = None,
) -> Tensor | list[Tensor]:
    """Label a frame by the nearest patches of frames that are labelled already.

    The protocol of DINO's DAVIS evaluation (Caron et al., 2021; Jabri et al., 2020)::

        for each patch p of the target:
            near = the topk patches of largest cosine with p, over all context frames together,
                   among those within radius rows and columns of p's place
            weight = exp(cosine / temperature), normalised to sum 1 over near
            out[:, p] = sum of weight * label over near

    Features are L2-normalised here, as DINO's script does before it multiplies them, so that
    their scale plays no part. Of patches that tie for the last place all count, as there. A window
    with fewer than topk patches is used whole.

    Args:
        target: (h*w, D) features of the frame, rows of patches one after the other.
        context: (n, h*w, D) features of the labelled frames. Half precision is computed in
            float32.
        labels: (n, C, h, w) label distributions of the context frames.
        grid: (h, w), the frame in patches.
        topk: Number of nearest patches. With a sequence, several at the price of one.
        radius: Of the square window, in patches; 0 sets no limit.
        temperature: Of the weights.
        chunk: Most rows of the target and most context frames at a time; it changes memory and
            time only.

    Returns:
        (C, h, w) label distribution of the target's patches; for a sequence of topk a list of
        them. In the dtype of the features, at least float32.

    Raises:
        ValueError: If the shapes do not agree, topk, radius or temperature is out of range, or a
            feature is not finite.
    """
    several = isinstance(topk, Sequence)
    settings = list(topk) if several else [topk]
    if not settings:
        raise ValueError("topk is an empty sequence; give at least one number of nearest patches")
    if min(settings) < 1:
        raise ValueError(f"topk={topk}: choose at least 1 nearest patch each; 5 is DINO's")
    _check_labels(labels, len(context), grid)
    matches = match_patches(
        target, context, grid=grid, topk=max(settings), radius=radius, chunk=chunk
    )
    outputs = [transfer_labels(matches, labels, topk=k, temperature=temperature) for k in settings]
    return outputs if several else outputs[0]


@torch.no_grad()
def transfer_labels(
    matches: PatchMatches, labels: Tensor, *, topk: int = 5, temperature: float = 0.1
) -> Tensor:
    """Average the labels of matched patches, weighted by exp(cosine / temperature).

    Along a video each setting of topk makes label maps of its own, while the features, and so the
    matches, are the same. Match once with the largest topk, then transfer once for each setting.

    Args:
        matches: Of the target frame, from ``match_patches``.
        labels: (n, C, h, w) label distributions of the context frames, in the order in which they
            were matched.
        topk: Number of nearest patches to use, at most that of the matches.
        temperature: Of the weights.

    Returns:
        (C, h, w) label distribution of the target's patches, in the dtype of the matches.

    Raises:
        ValueError: If there are fewer matches than topk asks for, the labels are not those of the
            matched frames, or the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} must be positive; 0.1 is DINO's")
    # More than there are patches means all of them, and matches never hold more.
    topk = min(topk, matches.patches)
    if not 1 <= topk <= matches.topk:
        raise ValueError(
            f"topk={topk}, but the matches hold the {matches.topk} nearest patches; choose 1 to "
            f"{matches.topk}, or match with a larger topk"
        )
    if labels.ndim != 4 or labels[:, :1].numel() != matches.patches:
        raise ValueError(
            f"labels {tuple(labels.shape)} must be (n, C, h, w) of the {matches.patches} patches "
            "that were matched; give one label map for each context frame"
        )
    cosine, index = matches.cosine, matches.index
    last = cosine[:, topk - 1]
    used = int((cosine >= last[:, None]).sum(1).max())
    cosine, index = cosine[:, :used], index[:, :used]
    # Relative to the nearest, the exponential cannot overflow; the quotient is the same.
    weight = ((cosine - cosine[:, :1]) / temperature).exp()
    weight = weight.masked_fill_(cosine < last[:, None], 0)
    weight /= weight.sum(1, keepdim=True)
    flat = labels.transpose(0, 1).flatten(1)
    taken = [(channel[index].to(weight.dtype) * weight).sum(1) for channel in flat]
    return torch.stack(taken).view(-1, *labels.shape[2:])


def _check_labels(labels: Tensor, frames: int, grid: tuple[int, int]) -> None:
    expected = f"({frames}, C, {grid[0]}, {grid[1]})"
    if labels.ndim != 4 or (labels.shape[0], *labels.shape[2:]) != (frames, *grid):
        raise ValueError(
            f"labels {tuple(labels.shape)} must be {expected}: one label map at patch resolution "
            "for each context frame"
        )
