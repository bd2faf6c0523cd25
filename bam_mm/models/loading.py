"""What a downstream model does with a pretraining checkpoint that mmengine loads into it.

mmengine loads the tensors whose names agree and warns of the others. From a checkpoint of BAM, a
downstream model would thus take the student (``backbone.*``) and keep a random head.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.checkpoint import write_proof
from bam_mm.checkpoint.backbone import RANDOM, LoadReport, fit_backbone, load_backbone
from bam_mm.errors import InputError
from bam_mm.models.pretrained_backbone import work_folder

TEACHER, STUDENT, PROJECTOR = "teacher.backbone.", "backbone.", "neck."
"""Prefixes of the tensors in a checkpoint of BAM."""

GIVEN = "the checkpoint that mmengine loads"
"""Words for a checkpoint whose path is not known to a model."""


_Module: Any = nn.Module
"""As untyped as the classes of mmlab that the following ones are combined with."""


class RefusesPretraining(_Module):
    """Base class of downstream models and backbones that a pretraining checkpoint must not fill.

    mmengine loads a whole model before its parts, and collects the names that the model lacks, so
    a backbone also learns that the file has a teacher.
    """

    def _load_from_state_dict(
        self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
    ) -> None:
        names = [name for name in state_dict if not prefix or not name.startswith(prefix)]
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        check_no_pretraining(self, [*names, *unexpected_keys])


class LoadsBranch(_Module):
    """Base class of models that are a backbone alone: they take the branch, with proof.

    Attributes:
        backbone: The backbone.
        branch: Branch to take, ``teacher`` or ``student``.
    """

    backbone: nn.Module
    branch: str

    def load_pretrained(self, path: str | Path, *, trust: bool = False) -> LoadReport | None:
        """Load every tensor of the backbone from a checkpoint.

        Args:
            path: Checkpoint file, or the word ``random`` for the weights that a training would
                start from (the config's ``randomness.seed`` determines them).
            trust: Whether the user has explicitly allowed code in this file to run.

        Returns:
            Report on the loaded tensors, or None for ``random``.

        Raises:
            InputError: Same as in :func:`~bam_mm.checkpoint.backbone.load_backbone`.
        """
        if str(path) == RANDOM:
            start_untrained(self.backbone)
            return None
        return load_backbone(self.backbone, path, branch=self.branch, trust=trust)

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        if not prefix and set(state_dict) != set(self.state_dict()):
            state = branch_state(self, state_dict)
            state_dict.clear()
            state_dict.update(state)
        super()._load_from_state_dict(state_dict, prefix, *args)


def start_untrained(backbone: Any) -> None:
    """Initialise a backbone as at the start of a training, and log a warning."""
    if hasattr(backbone, "init_weights"):
        backbone.init_weights()
    print_log(
        "random weights, as requested: the scores are those of an untrained network",
        logger="current",
        level=logging.WARNING,
    )


def branch_state(model: Any, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a model whose backbone is that of a branch of a checkpoint.

    The report is logged, and written to the work folder of a run.

    Args:
        model: Model with a ``backbone`` and a ``branch``.
        state_dict: Tensors of the checkpoint.

    Raises:
        InputError: If they do not hold every tensor of the backbone.
    """
    content = {"state_dict": dict(state_dict)}
    state, report = fit_backbone(model.backbone, content, GIVEN, model.branch)
    print_log(str(report), logger="current")
    folder = work_folder()
    if folder is not None and is_main_process():
        write_proof(folder, report)
    return model.state_dict() | {f"{STUDENT}{name}": value for name, value in state.items()}


def check_no_pretraining(model: nn.Module, names: Iterable[str]) -> None:
    """Check that tensors are not those of a pretraining.

    Args:
        model: Model or backbone that they are loaded into.
        names: Their names.

    Raises:
        InputError: If they hold a teacher, or a projector and none of the model's head.
    """
    names = list(names)
    head = getattr(model, "head", None)
    headless = (
        isinstance(head, nn.Module)
        and bool(head.state_dict())
        and any(name.startswith(STUDENT) for name in names)
        and not any(name.startswith("head.") for name in names)
    )
    projector = headless and any(name.startswith(PROJECTOR) for name in names)
    if projector or any(name.startswith(TEACHER) for name in names):
        raise InputError(
            f"the checkpoint is one of a pretraining, from which {type(model).__name__} would take "
            "the student and keep a random head: train this config from it (--cfg-options "
            "checkpoint=CK), load its teacher with init_cfg=dict(type='bam_mm.PretrainedBackbone', "
            "checkpoint=CK, branch='teacher'), or write its backbone to a file of its own "
            "(bam-mm convert CK OUT --to mmpretrain)"
        )
