"""Label propagation along a whole video, for several settings with one feature extraction."""

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
    """Propagate the labels of the first frame along a video.

    This is the protocol of DINO's DAVIS evaluation::

        for each frame t after the first:
            context = the first frame, and the last n before t (the first is not taken twice)
            soft[t] = propagate_labels(features[t], features[context], soft[context])

    Every setting propagates its own soft labels, while the patches are matched once for each n.

    Args:
        features: (h*w, D) features of each frame, in order. They are read one frame at a time and
            released when the largest n no longer needs them, so the memory does not grow with the
            length of the video.
        first: (C, h, w) label distribution of the first frame.
        topk: Numbers of nearest patches.
        n_last_frames: Numbers n of context frames in addition to the first frame.
        radius: Radius of the square window in patches; 0 sets no limit.
        temperature: Softmax temperature of the weights.

    Yields:
        For every frame after the first, the (C, h, w) label distribution for each pair (topk,
        n_last_frames).

    Raises:
        ValueError: If ``topk`` or ``n_last_frames`` is empty, a setting is out of range, the shapes
            of features and labels do not agree, or a feature is not finite.
    """
    if not topk or not n_last_frames or min(n_last_frames) < 0:
        raise ValueError(
            f"topk={list(topk)}, n_last_frames={list(n_last_frames)}: set at least one of each "
            "(DINO uses 5 and 7); 0 last frames use only the first frame as context"
        )
    height, width = first.shape[1:]
    frames = iter(features)
    anchor = next(frames)
    recent: deque[Tensor] = deque(maxlen=max(n_last_frames))
    past: dict[Setting, deque[Tensor]] = {
        (k, n): deque(maxlen=n) for k, n in product(topk, n_last_frames)
    }
    for target in frames:
        outputs: dict[Setting, Tensor] = {}
        for n in n_last_frames:
            near = islice(recent, max(len(recent) - n, 0), None)
            context = torch.stack([anchor, *near])
            matches = match_patches(
                target, context, grid=(height, width), topk=max(topk), radius=radius
            )
            for k in topk:
                labels = torch.stack([first, *past[k, n]])
                outputs[k, n] = transfer_labels(matches, labels, topk=k, temperature=temperature)
        recent.append(target)
        for setting, soft in outputs.items():
            past[setting].append(soft)
        yield {setting: outputs[setting] for setting in past}
