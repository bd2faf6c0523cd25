"""The loss and its gradient in one sweep over chunks of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bam_mm.losses.chunked.arrangement import Arrangement, unit_rows
from bam_mm.losses.chunked.products import Keys
from bam_mm.losses.chunked.targets import BalancedTargets


class ChunkedLoss(torch.autograd.Function):
    r"""This process's part of the loss, with the gradient formed in the forward pass.

    For a row of source view v, let z be its cosines divided by the temperature, p = softmax(z) its
    attention, and T_t the targets of its image that v is matched with, w_v in number: those of the
    other global views, and of the local views too if these are targets and v is global::

        loss    = scale * sum over rows of (w_v * logsumexp(z) - sum over t of <T_t, z>)
        dl/dz   = scale * (w_v * p - sum over t of T_t)
        scale   = 1 / (sum of all w_v * B * H)            # G * (V - 1) pairs, or G * (2V - G - 1)

    A chunk's matrix therefore serves both at once and is then discarded. A chunk holds all views of
    its images: they share the targets, the local views share the sum of the global targets too, and
    the global views that of the local targets. Only the gradient remains, which has the size of the
    features.
    """

    @staticmethod
    def forward(
        ctx,
        student: Tensor,
        keys: Tensor | None,
        factors: Keys,
        targets: BalancedTargets,
        arrangement: Arrangement,
        temperature: float,
        with_entropies: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Compute the loss and its gradient.

        Args:
            ctx: Autograd's context.
            student: (V * B, D) features, not normalised.
            keys: (K, D) normalised keys of all processes; None if they are not trained.
            factors: The same keys as factors of matrix products.
            targets: Targets of every chunk.
            arrangement: Arrangement of rows and keys.
            temperature: Softmax temperature of the attention.
            with_entropies: Whether to compute entropies.

        Returns:
            Three scalars: the loss, and the mean entropies of the attention and of the targets over
            the rows of this process, or None for both.
        """
        sweep = _Sweep(student, factors, arrangement, temperature)
        student_wants, keys_want = ctx.needs_input_grad[:2]
        if student_wants:
            # float16 lacks the range: the factor of a loss scaler is applied only later.
            lacking = student.dtype == torch.float16
            kept_as = factors.dtype if lacking else student.dtype
            sweep.gradient = torch.empty_like(student, dtype=kept_as)
        if keys is not None and keys_want:
            sweep.keys_gradient = torch.zeros_like(keys)
        for images in targets.chunks:
            sweep.visit(images, targets(images), with_entropies)
        if sweep.keys_gradient is not None:
            sweep.keys_gradient.mul_(sweep.scale / temperature)
        ctx.save_for_backward(sweep.gradient, sweep.keys_gradient)
        ctx.student_dtype = student.dtype
        loss = torch.stack(sweep.losses).sum()
        if not with_entropies:
            return loss, None, None
        attention_entropy, target_entropy = (torch.stack(sums).sum() for sums in sweep.entropies)
        ctx.mark_non_differentiable(attention_entropy, target_entropy)
        return loss, attention_entropy, target_entropy

    @staticmethod
    def backward(ctx, loss_gradient: Tensor, *_) -> tuple[Tensor | None, ...]:
        """Scale the gradient that the forward pass formed."""
        if torch.is_grad_enabled():
            raise RuntimeError(
                "create_graph=True: the BAM loss forms its gradient in the forward pass and has no "
                "second derivative; call backward() without create_graph"
            )
        gradient, keys_gradient = ctx.saved_tensors
        if gradient is not None:
            out = torch.empty_like(gradient, dtype=ctx.student_dtype)
            gradient = torch.mul(gradient, loss_gradient, out=out)
        if keys_gradient is not None:
            keys_gradient = keys_gradient * loss_gradient
        return gradient, keys_gradient, None, None, None, None, None


class _Sweep:
    """Loss, gradient and entropies, accumulated over the chunks."""

    def __init__(
        self, student: Tensor, keys: Keys, arrangement: Arrangement, temperature: float
    ) -> None:
        self.student, self.keys, self.of, self.temperature = student, keys, arrangement, temperature
        self.gradient: Tensor | None = None
        self.keys_gradient: Tensor | None = None
        self.losses: list[Tensor] = []
        self.entropies: tuple[list[Tensor], list[Tensor]] = ([], [])
        self.scale = 1 / (arrangement.pairs * arrangement.batch * arrangement.blocks)
        # Number of target views of each source view, w_v.
        v, g = arrangement.num_views, arrangement.num_global
        self.of_global, self.of_local = arrangement.num_targets - 1, g
        self.weights = student.new_full((v, 1, 1), float(self.of_local), dtype=keys.dtype)
        self.weights[:g] = self.of_global

    def visit(self, images: slice, targets: Tensor, with_entropies: bool) -> None:
        """Add the contribution of a chunk.

        Args:
            images: The chunk's b images.
            targets: (T, b, K) targets of these images, the global views first.
            with_entropies: Whether to add entropies too.
        """
        units, norms = unit_rows(self.student, self.of.batch, images, self.keys.dtype)
        logits = self.keys.scores(units / self.temperature)
        shared, others = self._sums(targets)
        attention = torch.empty_like(logits)
        matched = self._matched(logits, shared, others, scratch=attention)
        self.of.exclude_positives(logits, images, -math.inf)
        torch.softmax(self.of.by_block(logits), dim=-1, out=self.of.by_block(attention))
        log_partition = self._log_partition(logits, attention)
        self.losses.append(((self.weights * log_partition).sum() - matched) * self.scale)
        if with_entropies:
            self._add_entropies(attention, targets)
        if self.gradient is None and self.keys_gradient is None:
            return
        difference = self._subtract(attention, shared, others)
        if self.keys_gradient is not None:
            # The small common factor is applied at the end, so that half-precision factors keep
            # their range.
            self.keys.push(difference, units * self.weights, onto=self.keys_gradient)
        if self.gradient is not None:
            pulled = self.keys.pull(difference)
            # Backward through the normalisation: the part along the row vanishes.
            along = (pulled * units).sum(dim=-1, keepdim=True)
            factors = self.weights * (self.scale / self.temperature) / norms
            pulled.addcmul_(units, along, value=-1).mul_(factors)
            self.gradient.unflatten(0, (-1, self.of.batch))[:, images] = pulled

    def _sums(self, targets: Tensor) -> tuple[Tensor, list[list[Tensor]]]:
        """Add up the targets that a source view is matched with, as far as views share the sum.

        Returns:
            (b, K) sum of the targets of every local view, and for each global view the (b, K)
            summands of its targets: those of the other global views, and the sum of the local ones.
        """
        g = self.of.num_global
        local = [targets[g:].sum(dim=0)] if len(targets) > g else []
        return targets[:g].sum(dim=0), [
            [targets[other] for other in range(g) if other != view] + local for view in range(g)
        ]

    def _matched(
        self, logits: Tensor, shared: Tensor, others: list[list[Tensor]], scratch: Tensor
    ) -> Tensor:
        """Sum <T_t, z_v> over all pairs of matched views, before positives are excluded."""
        g = len(others)
        total = torch.mul(logits[g:], shared, out=scratch[g:]).sum()
        for view, summands in enumerate(others):
            for summand in summands:
                total = total + torch.mul(logits[view], summand, out=scratch[view]).sum()
        return total

    def _log_partition(self, logits: Tensor, attention: Tensor) -> Tensor:
        """(V, b, H) log-sum-exp, from a row's largest entry and its attention."""
        largest, share = (self.of.by_block(x).amax(dim=-1) for x in (logits, attention))
        return largest - share.log()

    def _subtract(self, attention: Tensor, shared: Tensor, others: list[list[Tensor]]) -> Tensor:
        """Subtract the mean of T_t over the targets of v from p in place: dl/dz up to a factor."""
        attention[len(others) :].sub_(shared, alpha=1 / self.of_local)
        for view, summands in enumerate(others):
            for summand in summands:
                attention[view].sub_(summand, alpha=1 / self.of_global)
        return attention

    def _add_entropies(self, attention: Tensor, targets: Tensor) -> None:
        for sums, p in zip(self.entropies, (attention, targets), strict=True):
            rows = len(p) * self.of.batch * self.of.blocks
            sums.append(torch.special.xlogy(p, p).sum() / -rows)
