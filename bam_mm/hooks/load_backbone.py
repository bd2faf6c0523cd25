"""Loading of a pretrained backbone before a downstream training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mmengine.dist import is_main_process
from torch import nn

from bam_mm.checkpoint import load_backbone, write_proof
from bam_mm.checkpoint.backbone import RANDOM
from bam_mm.errors import InputError
from bam_mm.hooks.model_hook import ModelHook, backbone_of
from bam_mm.models.pretrained_backbone import loaded_by_initialiser, pretrained_by
from bam_mm.registry import HOOKS
from bam_mm.variables.entries import name_of


@HOOKS.register_module()
class LoadBackboneHook(ModelHook):
    """Load the backbone before training, and prove that it is complete.

    A resumed run does not load the backbone again, because its own checkpoint contains it. Nor does
    a run without a checkpoint whose backbone ``init_cfg`` has loaded, by
    ``bam_mm.PretrainedBackbone``.

    ``checkpoint`` and ``branch`` are variables of the run's config: ``checkpoint = 'w.pth'`` in any
    config that inherits one with this hook, or ``--cfg-options checkpoint=w.pth`` of any tool. The
    arguments of the same names are for configs without these variables.

    Args:
        checkpoint: Checkpoint file, or the word ``random`` to keep the random weights. None for the
            config's variable.
        branch: Branch to load if the checkpoint has both, ``teacher`` or ``student``. None for the
            config's variable, or the teacher if it has none.
        trust: Whether the user has explicitly allowed code in this file to run
            (``--trust-checkpoint``).

    Attributes:
        preprocessing: Preprocessing of the run, for the proof; ``bam-mm train`` sets it.
    """

    # Before every hook that reads the weights.
    priority = "VERY_HIGH"

    def __init__(
        self, checkpoint: str | None = None, branch: str | None = None, trust: bool = False
    ) -> None:
        self.checkpoint, self.branch, self.trust = checkpoint, branch, trust
        self.preprocessing: dict[str, Any] | None = None

    def before_run(self, runner) -> None:
        """Read the variables ``checkpoint`` and ``branch`` of the run's config.

        Raises:
            InputError: If a variable differs from the argument of the same name.
        """
        super().before_run(runner)
        config = getattr(runner, "cfg", None) or {}
        self.checkpoint = _settled("checkpoint", self.checkpoint, config)
        self.branch = _settled("branch", self.branch, config)

    def before_train(self, runner) -> None:
        """Load the backbone, and write the proof to the work directory.

        Raises:
            InputError: If no checkpoint is set, or it does not contain every tensor of the
                backbone, or two hooks, or a hook and ``init_cfg``, load backbones.
        """
        if self._leaves_it_to_another(runner):
            return
        if runner._resume and runner._has_loaded:
            runner.logger.info(f"resumed: the backbone is not loaded again from {self.checkpoint}")
            return
        if runner._load_from is not None and not runner._resume:
            raise InputError(
                f"load_from={runner._load_from}: mmengine would load the tensors that fit and skip "
                "the rest; set the backbone with --cfg-options checkpoint=PATH, or continue a run "
                "with --resume PATH"
            )
        backbone = backbone_of(runner)
        if self._is_loaded(backbone):
            return
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
        branch = self.branch or "teacher"
        report = load_backbone(backbone, self.checkpoint, branch, trust=self.trust)
        if is_main_process():
            write_proof(runner.work_dir, replace(report, preprocessing=self.preprocessing))

    def _is_loaded(self, backbone: nn.Module) -> bool:
        """Return whether ``init_cfg`` has loaded the backbone, and this hook shall not."""
        ours = loaded_by_initialiser(backbone)
        # Weights of mmengine's `Pretrained` may be replaced, but they are not random.
        loaded = pretrained_by(backbone) if self.checkpoint == RANDOM else ours
        if loaded is not None and self.checkpoint is not None:
            raise InputError(
                f"checkpoint={self.checkpoint}, but init_cfg of the backbone loads {loaded} "
                "already: remove one of them (checkpoint=None, or init_cfg=None)"
            )
        return ours is not None

    def _leaves_it_to_another(self, runner) -> bool:
        """Return whether another hook of the run loads the backbone.

        A config that adds a hook of its own has the one of its base, too.
        """
        hooks = [hook for hook in runner.hooks if isinstance(hook, LoadBackboneHook)]
        sources = {(hook.checkpoint, hook.branch or "teacher") for hook in hooks if hook.checkpoint}
        if len(sources) > 1:
            named = " and ".join(sorted(f"{path} ({branch})" for path, branch in sources))
            raise InputError(
                f"two bam_mm.LoadBackboneHook load {named}: keep one of them, "
                "and set the variable checkpoint instead of arguments"
            )
        return self is not next((hook for hook in hooks if hook.checkpoint), (hooks or [self])[0])


def _settled(name: str, own: str | None, config: Mapping[str, Any]) -> str | None:
    """Return the value of an argument, or else that of the config's variable."""
    variable = config.get(name)
    if own is None or variable is None or own == variable:
        return variable if own is None else own
    raise InputError(
        f"{name}={variable!r} in {name_of(config)}, but bam_mm.LoadBackboneHook has "
        f"{name}={own!r}: remove the argument of the hook, which reads the variable, or set both "
        "to the same value"
    )
