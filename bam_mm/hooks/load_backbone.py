"""Loading of a pretrained backbone before a downstream training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mmengine.dist import is_main_process

from bam_mm.checkpoint import load_backbone, write_proof
from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook, backbone_of
from bam_mm.registry import HOOKS

RANDOM = "random"
"""Word that replaces a checkpoint and stands for a baseline with random weights."""


@HOOKS.register_module()
class LoadBackboneHook(ModelHook):
    """Load the backbone before training, and prove that it is complete.

    A resumed run does not load the backbone again, because its own checkpoint contains it.

    Args:
        checkpoint: Checkpoint file, or the word ``random`` to keep the random weights.
        branch: Branch to load if the checkpoint has both, ``teacher`` or ``student``.
        trust: Whether the user has explicitly allowed code in this file to run
            (``--trust-checkpoint``).

    Attributes:
        preprocessing: Preprocessing of the run, for the proof; ``bam-mm train`` sets it.
    """

    # Before every hook that reads the weights.
    priority = "VERY_HIGH"

    def __init__(
        self, checkpoint: str | None = None, branch: str = "teacher", trust: bool = False
    ) -> None:
        self.checkpoint, self.branch, self.trust = checkpoint, branch, trust
        self.preprocessing: dict[str, Any] | None = None

    def before_train(self, runner) -> None:
        """Load the backbone, and write the proof to the work directory.

        Raises:
            InputError: If no checkpoint is set, or it does not contain every tensor of the
                backbone.
        """
        if runner._resume and runner._has_loaded:
            runner.logger.info(f"resumed: the backbone is not loaded again from {self.checkpoint}")
            return
        if runner._load_from is not None and not runner._resume:
            raise InputError(
                f"load_from={runner._load_from}: mmengine would load the tensors that fit and skip "
                "the rest; set the backbone with --cfg-options checkpoint=PATH, or continue a run "
                "with --resume PATH"
            )
        if self.checkpoint is None:
            raise InputError(
                "no checkpoint: this protocol scores a pretrained backbone; set one with "
                f"--cfg-options checkpoint=PATH, or checkpoint={RANDOM} for a baseline with random "
                "weights"
            )
        if self.checkpoint == RANDOM:
            runner.logger.warning("checkpoint=random: the backbone keeps its random weights")
            return
        # load_backbone logs the report.
        report = load_backbone(backbone_of(runner), self.checkpoint, self.branch, trust=self.trust)
        if is_main_process():
            write_proof(runner.work_dir, replace(report, preprocessing=self.preprocessing))
