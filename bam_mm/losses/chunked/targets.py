"""Balanced targets of a chunk of images: Sinkhorn's iteration on potentials, not on the matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from bam_mm.distributed import logsumexp_rows, sum_over_processes
from bam_mm.losses.balancing import keep_top_k
from bam_mm.losses.chunked.arrangement import Arrangement, budget, unit_rows
from bam_mm.losses.chunked.products import Keys
from bam_mm.losses.settings import LossSettings


class BalancedTargets:
    """The targets of any chunk of images, as :func:`~bam_mm.losses.balance` would give them.

    A balanced matrix is ``diag(u) exp(scores) diag(v)``, and u follows from v, as rows come last.
    So only v (a number for each key) is carried from one iteration to the next. An iteration goes
    over the chunks once::

        for chunk in chunks:
            P    = exp(scores of the chunk)                       # (rows, K)
            u    = 1 / (P @ v)                                    # rows are distributions
            sums = sums + u @ P                                   # over the rows of all processes
        v = 1 / sums                                              # every key is drawn to equally

    Where the temperature is so low that exp could leave the range of the type, the same is done on
    the logarithm of v, and rows as ``softmax(scores + log v)``. No sum of a column can underflow
    there: the first iteration takes them as log-sum-exp, and then a key's sum over the rows is at
    least 1 / (rows * K).

    Args:
        rows: (R * B, D) features of this process, view-major, not normalised; the global views
            first. If the keys make one block the R views are balanced together; else each pair of
            row view and key view is balanced by itself.
        keys: Of all processes.
        arrangement: Of the keys; its ``num_views`` sets the size of the chunks.
        settings: Settings of the loss; target temperature, iterations and ``top_k`` count here.

    Attributes:
        chunks: Slices of the images that targets are asked for.
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
        self.chunks = tuple(arrangement.chunks(keys.dtype, keys.rows.device))
        self._kept: dict[int, Tensor] = {}
        self._room = budget(keys.rows.device).kept
        # u, v and the entries are at most exp(3 / temperature), times small powers of their number.
        self._linear = 4 / self._temperature <= math.log(torch.finfo(keys.dtype).max)
        self._v: Tensor | None = None
        for _ in range(settings.sinkhorn_iters):
            self._v = self._iterate_linear() if self._linear else self._iterate_in_logs()

    def __call__(self, images: slice) -> Tensor:
        """Targets of a chunk's images; to be asked once for each chunk.

        Args:
            images: b images, one of ``chunks``.

        Returns:
            (G, b, K), non-negative, zero at positives; rows sum to one in each block of keys.
        """
        num_global, batch = self._of.num_global, self._of.batch
        scores = self._kept.pop(images.start, None)
        if scores is None:
            scores = self._scores(self._rows[: num_global * batch], images)
        targets = self._of.by_block(scores[:num_global])
        if self._linear:
            targets = targets if self._v is None else targets.mul_(self._v)
            targets = targets.div_(targets.sum(dim=-1, keepdim=True))
        else:
            targets = self._softmax(targets)
        if self._top_k:
            targets = keep_top_k(targets, self._top_k)
        return targets.flatten(2)

    def _iterate_linear(self) -> Tensor:
        sums = 0
        for matrix in self._all_scores():
            if self._v is None:
                sums = sums + matrix.sum(dim=self._summed, keepdim=True)
                continue
            sums = sums + self._shares(matrix)
        return sum_over_processes(sums).reciprocal_()

    def _shares(self, matrix: Tensor) -> Tensor:
        """Form u @ P of each block, in two passes over it and without a matrix of its size."""
        if self._of.blocks == 1:
            flat, v = matrix.flatten(0, 2), self._v.flatten()
            return torch.mv(flat.T, torch.mv(flat, v).reciprocal_()).view_as(self._v)
        u = torch.einsum("rbhk,rhk->rbh", matrix, self._v.squeeze(1)).reciprocal_()
        return torch.einsum("rbhk,rbh->rhk", matrix, u).unsqueeze(1)

    def _iterate_in_logs(self) -> Tensor:
        if self._v is None:
            sums = None
            for scores in self._all_scores():
                part = scores.logsumexp(dim=self._summed, keepdim=True)
                sums = part if sums is None else torch.logaddexp(sums, part)
            return logsumexp_rows(sums.unsqueeze(0)).squeeze(0).neg_()
        sums = 0
        for scores in self._all_scores():
            sums = sums + self._softmax(scores).sum(dim=self._summed, keepdim=True)
        return self._v - sum_over_processes(sums).log_()

    def _softmax(self, scores: Tensor) -> Tensor:
        return (scores if self._v is None else scores + self._v).softmax(dim=-1)

    @property
    def _summed(self) -> tuple[int, ...]:
        # Of (R, b, H, K / H): the rows that a key's sum spans.
        return (0, 1) if self._of.blocks == 1 else (1,)

    def _all_scores(self) -> Iterator[Tensor]:
        """(R, b, H, K / H) of each chunk, kept from the last time where there is room."""
        for images in self.chunks:
            scores = self._kept.get(images.start)
            if scores is None:
                scores = self._scores(self._rows, images)
                if (size := scores.numel() * scores.element_size()) <= self._room:
                    self._kept[images.start] = scores
                    self._room -= size
            yield self._of.by_block(scores)

    def _scores(self, rows: Tensor, images: slice) -> Tensor:
        """(r, b, K) scores of some images' rows, or their exp where that is safe."""
        units, _ = unit_rows(rows, self._of.batch, images, self._keys.dtype)
        scores = self._keys.scores(units.div_(self._temperature))
        if self._linear:
            scores.exp_()
        self._of.exclude_positives(scores, images, 0.0 if self._linear else -math.inf)
        return scores
