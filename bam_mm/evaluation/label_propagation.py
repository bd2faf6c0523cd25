"""Label propagation between the frames of a video, based on frozen patch features."""

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
    """Label a frame by the nearest patches of frames that are already labelled.

    This is the protocol of DINO's DAVIS evaluation (Caron et al., 2021; Jabri et al., 2020)::

        for each patch p of the target:
            near = the topk patches of largest cosine with p, over all context frames together,
                   among those within radius rows and columns of p's place
            weight = exp(cosine / temperature), normalised to sum 1 over near
            out[:, p] = sum of weight * label over near

    Features are L2-normalised here, as in the script of DINO, so their scale does not matter. As in
    that script, all patches that tie for the last place count. A window with fewer than topk
    patches is used completely.

    Args:
        target: (h*w, D) features of the frame, in row-major order of the patches.
        context: (n, h*w, D) features of the labelled frames. Features in half precision are
            computed in float32.
        labels: (n, C, h, w) label distributions of the context frames.
        grid: (h, w), the size of a frame in patches.
        topk: Number of nearest patches, or a sequence of such numbers, which share the matching.
        radius: Radius of the square window in patches; 0 sets no limit.
        temperature: Softmax temperature of the weights.
        chunk: Maximum number of rows of the target and of context frames that are processed at
            once; it affects memory and time only. None chooses both by the available memory.

    Returns:
        (C, h, w) label distribution of the patches of the target, or a list of them for a sequence
        of topk; in the dtype of the features, at least float32.

    Raises:
        ValueError: If the shapes do not agree, topk, radius, temperature or chunk is out of range,
            or a feature is not finite.
    """
    settings = list(topk) if isinstance(topk, Sequence) else [topk]
    if not settings:
        raise ValueError("topk is an empty sequence; pass at least one number of nearest patches")
    if min(settings) < 1:
        raise ValueError(f"topk={topk}: choose at least 1 nearest patch; DINO uses 5")
    _check_labels(labels, len(context), grid)
    matches = match_patches(
        target, context, grid=grid, topk=max(settings), radius=radius, chunk=chunk
    )
    outputs = [transfer_labels(matches, labels, topk=k, temperature=temperature) for k in settings]
    return outputs if isinstance(topk, Sequence) else outputs[0]


@torch.no_grad()
def transfer_labels(
    matches: PatchMatches, labels: Tensor, *, topk: int = 5, temperature: float = 0.1
) -> Tensor:
    """Average the labels of matched patches, weighted by exp(cosine / temperature).

    Along a video, each setting of topk propagates its own label maps, while the features and thus
    the matches are the same. To evaluate several settings, match once with the largest topk, then
    transfer once for each setting.

    Args:
        matches: Matches of the target frame, from
            :func:`~bam_mm.evaluation.patch_matching.match_patches`.
        labels: (n, C, h, w) label distributions of the context frames, in the order in which they
            were matched.
        topk: Number of nearest patches to use, at most that of the matches.
        temperature: Softmax temperature of the weights.

    Returns:
        (C, h, w) label distribution of the patches of the target, in the dtype of the matches.

    Raises:
        ValueError: If topk exceeds that of the matches, the labels do not have the shape of the
            matched frames, or the temperature is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} must be positive; DINO uses 0.1")
    # A topk above the number of patches selects all patches.
    topk = min(topk, matches.patches)
    if not 1 <= topk <= matches.topk:
        raise ValueError(
            f"topk={topk}, but the matches hold the {matches.topk} nearest patches; choose 1 to "
            f"{matches.topk}, or match with a larger topk"
        )
    if labels.ndim != 4 or labels[:, :1].numel() != matches.patches:
        raise ValueError(
            f"labels {tuple(labels.shape)} must be (n, C, h, w) of the {matches.patches} patches "
            "that were matched; pass one label map per context frame"
        )
    cosine, index = matches.cosine, matches.index
    last = cosine[:, topk - 1]
    used = int((cosine >= last[:, None]).sum(1).max())
    cosine, index = cosine[:, :used], index[:, :used]
    # Subtracting the largest cosine keeps the exponential from overflowing. The normalised weights
    # are the same.
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
            f"labels {tuple(labels.shape)} must be {expected}: pass one label map at patch "
            "resolution per context frame"
        )
