"""Proof that a frozen backbone does not change."""

from __future__ import annotations

import hashlib

from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook, backbone_of
from bam_mm.models.linear_probe import tensor_digests
from bam_mm.registry import HOOKS

KEY = "frozen_backbone"
"""Key of a checkpoint with the digest of the backbone that it was trained on."""


@HOOKS.register_module()
class FrozenBackboneHook(ModelHook):
    """Stop a run in which any tensor of the backbone changes, including BatchNorm statistics.

    The hook digests all parameters and buffers before training, after every epoch and at the end.
    It saves the digest in each checkpoint, so that a run can only be resumed with the same
    backbone.
    """

    # After the training of an epoch, before its checkpoint is written.
    priority = "LOW"

    def __init__(self) -> None:
        self.before: dict[str, str] = {}
        self.saved: str | None = None

    def before_train(self, runner) -> None:
        """Digest the backbone at the start of the training.

        Raises:
            InputError: If a parameter of the backbone is trainable, or the run to resume was
                trained on another backbone.
        """
        backbone = backbone_of(runner)
        trained = [name for name, p in backbone.named_parameters() if p.requires_grad]
        if trained:
            raise InputError(
                f"the backbone is not frozen: {len(trained)} parameters would be trained, the "
                f"first is backbone.{trained[0]}; set model.type=bam_mm.FrozenBackboneClassifier, "
                "or remove FrozenBackboneHook from custom_hooks"
            )
        self.before = tensor_digests(backbone)
        if self.saved is not None and self.saved != _combine(self.before):
            raise InputError(
                "the checkpoint to resume from was trained on another backbone than it holds now, "
                "so its file was changed; start over with --cfg-options checkpoint=PATH"
            )

    def after_train_epoch(self, runner) -> None:
        """Check the backbone."""
        self._check_backbone(runner)

    def after_train(self, runner) -> None:
        """Check the backbone, and log that it has not changed."""
        self._check_backbone(runner)
        runner.logger.info(
            f"frozen: all {len(self.before)} tensors of the backbone are bit-equal to those before "
            "training"
        )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the digest of the backbone."""
        checkpoint[KEY] = _combine(self.before)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Store the digest of the run to resume."""
        self.saved = checkpoint.get(KEY)

    def _check_backbone(self, runner) -> None:
        now = tensor_digests(backbone_of(runner))
        changed = [name for name in self.before | now if self.before.get(name) != now.get(name)]
        if changed:
            raise InputError(
                f"iteration {runner.iter}: the backbone is not frozen: {len(changed)} of its "
                f"tensors changed, the first is backbone.{changed[0]}; remove hooks that change it "
                "(mmengine's SyncBuffersHook, EMA, PreciseBN), or remove FrozenBackboneHook to "
                "train it"
            )


def _combine(digests: dict[str, str]) -> str:
    text = "\n".join(f"{name} {digest}" for name, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()
