"""Balanced targets chunk by chunk: Sinkhorn iterations on potentials, not on the matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor

from bam_mm.distributed import logsumexp_rows, sum_over_processes
from bam_mm.losses.balancing import keep_top_k
from bam_mm.losses.chunked.arrangement import Arrangement, budget, unit_rows
from bam_mm.losses.chunked.products import Keys
from bam_mm.losses.settings import LossSettings


class BalancedTargets:
    """The targets of every chunk of images, equal to those of :func:`~bam_mm.losses.balance`.

    A balanced matrix is ``diag(u) exp(scores) diag(v)``, and u follows from v because rows are
    normalised last. Only v (one number for each key) is kept between iterations. An iteration
    visits each chunk once::

        for chunk in chunks:
            P    = exp(scores of the chunk)                       # (rows, K)
            u    = 1 / (P @ v)                                    # rows are distributions
            sums = sums + u @ P                                   # over the rows of all processes
        v = 1 / sums                                              # keys receive equal attention

    If the temperature is so low that exp could leave the range of the type, the same is computed
    with the logarithm of v, and rows as ``softmax(scores + log v)``. No column sum can underflow
    there: the first iteration computes them as log-sum-exp, and afterwards the sum of a key over
    the rows is at least 1 / (rows * K).

    Args:
        rows: (R * B, D) features of this process, view-major, not normalised; the global views
            first. With global normalisation the R views are balanced together; otherwise each pair
            (row view, key view) is balanced independently.
        keys: Keys of all processes.
        arrangement: Arrangement of the keys; its ``num_views`` sets the size of the chunks.
        settings: Settings of the loss; only target temperature, iterations, ``top_k`` and global
            normalisation are used.

    Attributes:
        chunks: Slices of the images for which targets can be requested.
    """

    def __init__(
        self,
        rows: Tensor,
        keys: Keys,
        arrangement: Arrangement,
        settings: LossSettings,
    ) -> None:
        self._rows, self._keys, self._of = rows, keys, arrangement
        self._temperature, self._top_k = settings.target_temperature, settings.top_k
        # One view and one block of keys are a single matrix with or without global normalisation.
        self._together = settings.global_normalisation or len(rows) == arrangement.batch
        self.chunks = tuple(arrangement.chunks(keys.dtype, keys.rows.device))
        self._kept: dict[int, Tensor] = {}
        self._space = budget(keys.rows.device).kept
        # u, v and the entries are at most exp(3 / temperature), times small powers of their number.
        self._linear = 4 / self._temperature <= math.log(torch.finfo(keys.dtype).max)
        self._v: Tensor | None = None
        for _ in range(settings.sinkhorn_iters):
            iterate = self._iterate_linear if self._linear else self._iterate_in_logs
            self._v = iterate(self._v)

    def __call__(self, images: slice) -> Tensor:
        """Compute the targets of a chunk; call it once for each chunk.

        Args:
            images: The chunk's b images, one of ``chunks``.

        Returns:
            (T, b, K), non-negative, zero at positives; rows sum to one in each block of keys.
        """
        num_targets, batch = self._of.num_targets, self._of.batch
        scores = self._kept.pop(images.start, None)
        if scores is None:
            scores = self._scores(self._rows[: num_targets * batch], images)
        targets = self._of.by_block(scores[:num_targets])
        if self._linear:
            targets = targets if self._v is None else targets.mul_(self._v)
            targets = targets.div_(targets.sum(dim=-1, keepdim=True))
        else:
            targets = self._softmax(targets)
        if self._top_k:
            targets = keep_top_k(targets, self._top_k)
        return targets.flatten(2)

    def _iterate_linear(self, v: Tensor | None) -> Tensor:
        if v is None:
            parts = (matrix.sum(dim=self._summed, keepdim=True) for matrix in self._all_scores())
        else:
            parts = (self._shares(matrix, v) for matrix in self._all_scores())
        return sum_over_processes(reduce(torch.add, parts)).reciprocal_()

    def _shares(self, matrix: Tensor, v: Tensor) -> Tensor:
        """Compute u @ P of each block in two passes, without a second matrix of its size."""
        if self._together:
            flat = matrix.flatten(0, 2)
            return torch.mv(flat.T, torch.mv(flat, v.flatten()).reciprocal_()).view_as(v)
        u = torch.einsum("rbhk,rhk->rbh", matrix, v.squeeze(1)).reciprocal_()
        return torch.einsum("rbhk,rbh->rhk", matrix, u).unsqueeze(1)

    def _iterate_in_logs(self, v: Tensor | None) -> Tensor:
        if v is None:
            parts = (scores.logsumexp(self._summed, keepdim=True) for scores in self._all_scores())
            return logsumexp_rows(reduce(torch.logaddexp, parts).unsqueeze(0)).squeeze(0).neg_()
        parts = (
            self._softmax(scores).sum(dim=self._summed, keepdim=True)
            for scores in self._all_scores()
        )
        return v - sum_over_processes(reduce(torch.add, parts)).log_()

    def _softmax(self, scores: Tensor) -> Tensor:
        return (scores if self._v is None else scores + self._v).softmax(dim=-1)

    @property
    def _summed(self) -> tuple[int, ...]:
        # Dimensions of (R, b, H, K / H) over which the sum of a key extends.
        return (0, 1) if self._together else (1,)

    def _all_scores(self) -> Iterator[Tensor]:
        """Yield (R, b, H, K / H) scores of each chunk; those that fit are kept."""
        for images in self.chunks:
            scores = self._kept.get(images.start)
            if scores is None:
                scores = self._scores(self._rows, images)
                if (size := scores.numel() * scores.element_size()) <= self._space:
                    self._kept[images.start] = scores
                    self._space -= size
            yield self._of.by_block(scores)

    def _scores(self, rows: Tensor, images: slice) -> Tensor:
        """Compute (r, b, K) scores of some images' rows, or their exp where that is safe."""
        units, _ = unit_rows(rows, self._of.batch, images, self._keys.dtype)
        scores = self._keys.scores(units.div_(self._temperature))
        if self._linear:
            scores.exp_()
        self._of.exclude_positives(scores, images, 0.0 if self._linear else -math.inf)
        return scores
