"""Label propagation along a whole video, for several settings at the price of one extraction."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product

import torch
from torch import Tensor

from bam_mm.evaluation.label_propagation import transfer_labels
from bam_mm.evaluation.patch_matching import match_patches

Setting = tuple[int, int]
"""(topk, n_last_frames)."""


def propagate_video(
    features: Iterable[Tensor],
    first: Tensor,
    *,
    topk: Sequence[int] = (5,),
    n_last_frames: Sequence[int] = (7,),
    radius: int = 12,
    temperature: float = 0.1,
) -> Iterator[dict[Setting, Tensor]]:
    """Carry the labels of the first frame along a video.

    The protocol of DINO's DAVIS evaluation::

        for each frame t after the first:
            context = the first frame, and the last n before t (the first is not taken twice)
            soft[t] = propagate_labels(features[t], features[context], soft[context])

    Every setting propagates its own soft labels; the patches are matched once for each n.

    Args:
        features: (h*w, D) of each frame, in order. They are taken one at a time, and those beyond
            the largest n are let go, so that a long video needs no more memory than a short one.
        first: (C, h, w) label distribution of the first frame.
        topk: Numbers of nearest patches.
        n_last_frames: Numbers of context frames besides the first.
        radius: Of the square window, in patches; 0 sets no limit.
        temperature: Of the weights.

    Yields:
        For every frame from the second on, (C, h, w) for each (topk, n_last_frames).

    Raises:
        ValueError: As ``match_patches`` and ``transfer_labels``, or if a sequence of settings is
            empty or an n is negative.
    """
    if not topk or not n_last_frames or min(n_last_frames) < 0:
        raise ValueError(
            f"topk={list(topk)}, n_last_frames={list(n_last_frames)}: give at least one of each, "
            "5 and 7 are DINO's; 0 last frames leave the first alone"
        )
    grid = tuple(first.shape[1:])
    frames = iter(features)
    anchor = next(frames)
    recent: deque[Tensor] = deque(maxlen=max(n_last_frames))
    past = {(k, n): deque(maxlen=n) for k, n in product(topk, n_last_frames)}
    for target in frames:
        outputs: dict[Setting, Tensor] = {}
        for n in n_last_frames:
            near = islice(recent, max(len(recent) - n, 0), None)
            context = torch.stack([anchor, *near])
            matches = match_patches(target, context, grid=grid, topk=max(topk), radius=radius)
            for k in topk:
                labels = torch.stack([first, *past[k, n]])
                outputs[k, n] = transfer_labels(matches, labels, topk=k, temperature=temperature)
        recent.append(target)
        for setting, soft in outputs.items():
            past[setting].append(soft)
        yield {setting: outputs[setting] for setting in past}
