"""How a checkpoint gets into a downstream training."""

from __future__ import annotations

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from bam_mm.checkpoint import load_backbone, write_proof
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.registry import HOOKS

RANDOM = "random"
"""In place of a checkpoint: a baseline with random weights, on purpose."""


@HOOKS.register_module()
class LoadBackboneHook(Hook):
    """Load the backbone with proof before training; a resumed run has it already.

    Args:
        checkpoint: The checkpoint; ``random`` leaves the backbone as it was initialised.
        branch: ``teacher`` or ``student``, where the checkpoint has both.
        trust: The user's explicit word (``--trust-checkpoint``) that code in this file may run.
    """

    # Before every hook that looks at the weights.
    priority = "VERY_HIGH"

    def __init__(
        self, checkpoint: str | None = None, branch: str = "teacher", trust: bool = False
    ) -> None:
        self.checkpoint, self.branch, self.trust = checkpoint, branch, trust

    def before_train(self, runner) -> None:
        """Load.

        Raises:
            InputError: If there is no checkpoint, or not every tensor of the backbone is in it.
        """
        if runner._resume and runner._has_loaded:
            runner.logger.info(f"resumed: the backbone is not loaded again from {self.checkpoint}")
            return
        if runner._load_from is not None and not runner._resume:
            raise InputError(
                f"load_from={runner._load_from}: mmengine would load what happens to fit and skip "
                "the rest; give the backbone with --cfg-options checkpoint=PATH, or go on with a "
                "run with --resume PATH"
            )
        if self.checkpoint is None:
            raise InputError(
                "no checkpoint: this protocol scores a pretrained backbone; name one with "
                f"--cfg-options checkpoint=PATH, or checkpoint={RANDOM} for a baseline with random "
                "weights"
            )
        if self.checkpoint == RANDOM:
            runner.logger.warning("checkpoint=random: the backbone keeps its random weights")
            return
        model = unwrap_model(runner.model)
        # The report is logged there.
        report = load_backbone(model.backbone, self.checkpoint, self.branch, trust=self.trust)
        if is_main_process():
            write_proof(runner.work_dir, report)
