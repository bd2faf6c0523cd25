"""Proof that a frozen backbone stays as it was."""

from __future__ import annotations

import hashlib

from mmengine.hooks import Hook

from bam_mm.distributed import mean_over_processes, unwrap_model
from bam_mm.errors import InputError
from bam_mm.models.linear_probe import tensor_digests
from bam_mm.registry import HOOKS

KEY = "frozen_backbone"
"""Where a checkpoint keeps the digest of the backbone that it was trained on."""


@HOOKS.register_module()
class FrozenBackboneHook(Hook):
    """Stop a run in which any tensor of the backbone changes, BatchNorm's statistics included.

    All parameters and buffers are digested before training, after every epoch and at the end. The
    digest is saved with each checkpoint, so a resumed run is held to the same backbone. The neck's
    BatchNorm statistics, which each process gathers from its own batches, are averaged over the
    processes after each epoch.
    """

    # After the training of an epoch, before its checkpoint is written.
    priority = "LOW"

    def __init__(self) -> None:
        self.before: dict[str, str] = {}
        self.saved: str | None = None

    def before_train(self, runner) -> None:
        """Digest the backbone as it is now.

        Raises:
            InputError: If a parameter of it would be trained, or a resumed run has another one.
        """
        backbone = unwrap_model(runner.model).backbone
        trained = [name for name, p in backbone.named_parameters() if p.requires_grad]
        if trained:
            raise InputError(
                f"the backbone is not frozen: {len(trained)} parameters would be trained, the "
                f"first: backbone.{trained[0]}; use model.type=bam_mm.FrozenBackboneClassifier, or "
                "remove FrozenBackboneHook from custom_hooks"
            )
        self.before = tensor_digests(backbone)
        if self.saved is not None and self.saved != _combine(self.before):
            raise InputError(
                "the checkpoint to resume from was trained on another backbone than it holds now: "
                "it was changed after it was written; start anew with --cfg-options checkpoint=PATH"
            )

    def after_train_epoch(self, runner) -> None:
        """Average the neck's statistics, and compare the backbone."""
        neck = getattr(unwrap_model(runner.model), "neck", None)
        for buffer in neck.buffers() if neck is not None else ():
            if buffer.is_floating_point():
                buffer.copy_(mean_over_processes(buffer))
        self._compare(runner)

    def after_train(self, runner) -> None:
        """Compare, and say so."""
        self._compare(runner)
        runner.logger.info(
            f"frozen: all {len(self.before)} tensors of the backbone are bit-equal to those before "
            "training"
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Note the backbone's digest."""
        checkpoint[KEY] = _combine(self.before)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember the digest of the run to resume."""
        self.saved = checkpoint.get(KEY)

    def _compare(self, runner) -> None:
        now = tensor_digests(unwrap_model(runner.model).backbone)
        changed = [name for name in self.before | now if self.before.get(name) != now.get(name)]
        if changed:
            raise InputError(
                f"iteration {runner.iter}: the backbone is not frozen: {len(changed)} of its "
                f"tensors changed, the first: backbone.{changed[0]}; keep other hooks "
                "(SyncBuffers, EMA, PreciseBN) off the backbone, or remove FrozenBackboneHook to "
                "train it"
            )


def _combine(digests: dict[str, str]) -> str:
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()
