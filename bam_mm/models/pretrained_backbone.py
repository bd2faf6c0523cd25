"""A weight initialiser of mmengine that loads a backbone with proof, for any config of mmlab."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.model import update_init_info
from torch import nn

from bam_mm.checkpoint import LoadReport, load_backbone, write_proof
from bam_mm.checkpoint.branches import BRANCHES
from bam_mm.errors import InputError
from bam_mm.registry import WEIGHT_INITIALIZERS

NAME = "PretrainedBackbone"

READS_ITSELF = ("SwinTransformer", "PyramidVisionTransformer", "PyramidVisionTransformerV2")
"""Classes of mmdet and mmseg that read ``init_cfg`` themselves instead of passing it to mmengine,
and then load the file by themselves, whatever the type."""


@WEIGHT_INITIALIZERS.register_module(name=NAME)
class PretrainedBackbone:
    """Initialise a backbone from a checkpoint, and prove that every tensor was loaded.

    It stands where mmlab's configs have ``init_cfg=dict(type='Pretrained', ...)``, either in the
    backbone or in the model around it. In both places it loads the backbone alone, and nothing
    initialises the backbone afterwards::

        backbone=dict(
            type='mmdet.ResNet', depth=50,
            init_cfg=dict(type='bam_mm.PretrainedBackbone', checkpoint='bam.pth'))

    mmdet's and mmseg's ``SwinTransformer`` and mmdet's ``PyramidVisionTransformer`` read their
    ``init_cfg`` themselves, whatever its type. For them, write it in the model
    (:func:`check_initialisers`).

    The report is logged, and also written to the work folder of a run
    (:func:`~bam_mm.checkpoint.proof.write_proof`).

    Args:
        checkpoint: Path of the checkpoint, any that
            :func:`~bam_mm.checkpoint.backbone.load_backbone` reads.
        branch: ``teacher`` or ``student``. In a file with one model, both are this model.
        trust: Whether the user has explicitly allowed code in this file to run.

    Raises:
        InputError: If there is no path, the branch is unknown, or ``trust`` is no switch.
    """

    def __init__(self, checkpoint: str | Path, branch: str = "teacher", trust: bool = False):
        if branch not in BRANCHES:
            raise InputError(f"init_cfg.branch={branch!r}: choose 'teacher' or 'student'")
        if not isinstance(checkpoint, (str, Path)) or not str(checkpoint).strip():
            raise InputError(
                f"init_cfg.checkpoint={checkpoint!r}: set the path of a checkpoint, or remove this "
                "init_cfg to start from random weights"
            )
        if not isinstance(trust, bool):  # Any text would be true, and run the code of the file.
            raise InputError(f"init_cfg.trust={trust!r}: write True or False")
        self.checkpoint, self.branch, self.trust = checkpoint, branch, trust
        self.wholemodule = False
        """Set by mmengine, without a meaning for this initialiser."""

    def __call__(self, module: nn.Module) -> LoadReport:
        """Load the backbone.

        Args:
            module: The backbone, or a model with a ``backbone``.

        Returns:
            The report.

        Raises:
            InputError: If the checkpoint does not hold every tensor of the backbone (see
                :func:`~bam_mm.checkpoint.backbone.load_backbone`), or another initialiser follows
                this one.
        """
        self._check_is_last(module)
        inner = getattr(module, "backbone", None)
        backbone = inner if isinstance(inner, nn.Module) else module
        report = load_backbone(backbone, self.checkpoint, self.branch, trust=self.trust)
        keep_weights(backbone, self.checkpoint)
        cast(Any, backbone).loaded_by_initialiser = str(self.checkpoint)
        if hasattr(backbone, "_params_init_info"):
            update_init_info(backbone, init_info=f"{NAME}: {report}")
        folder = work_folder()
        if folder is not None and is_main_process():
            write_proof(folder, report)
        return report

    def _check_is_last(self, module: nn.Module) -> None:
        configs = getattr(module, "init_cfg", None)
        kinds = [str(c.get("type")) for c in configs] if isinstance(configs, (list, tuple)) else []
        if kinds and not kinds[-1].endswith(NAME):
            raise InputError(
                f"init_cfg of {type(module).__name__}: {kinds[-1]} follows {NAME} and would "
                f"replace the weights of {self.checkpoint}; write {NAME} last"
            )


def keep_weights(backbone: nn.Module, checkpoint: str | Path) -> None:
    """Mark a backbone as initialised, so that ``init_weights`` changes none of its tensors.

    mmengine initialises the children after the module itself, and several backbones initialise
    position embeddings or norms after that, unless their own ``init_cfg`` is ``Pretrained``.

    Args:
        backbone: The backbone with its loaded weights.
        checkpoint: Path of the checkpoint.
    """
    for module in backbone.modules():
        if hasattr(module, "init_weights"):
            cast(Any, module).is_init = True
    if hasattr(backbone, "init_cfg"):
        cast(Any, backbone).init_cfg = dict(type="Pretrained", checkpoint=str(checkpoint))


def loaded_by_initialiser(backbone: nn.Module | None) -> str | None:
    """Return the checkpoint that ``PretrainedBackbone`` has loaded a backbone from, None if not."""
    return getattr(backbone, "loaded_by_initialiser", None)


def pretrained_by(backbone: nn.Module) -> str | None:
    """Return what the ``init_cfg`` of an initialised backbone loads, None if nothing.

    Args:
        backbone: The backbone, initialised by ``PretrainedBackbone``, mmengine's ``Pretrained`` or
            another initialiser.
    """
    config = getattr(backbone, "init_cfg", None)
    configs = [config] if isinstance(config, dict) else config or []
    loading = [each for each in configs if str(each.get("type")).endswith("Pretrained")]
    return loaded_by_initialiser(backbone) or (
        str(loading[0].get("checkpoint")) if loading else None
    )


def check_initialisers(model: object) -> None:
    """Check that every ``PretrainedBackbone`` in a model is at a place where mmengine calls it.

    Args:
        model: Model that is built but not initialised; what is no module is not checked.

    Raises:
        InputError: If it is in a backbone whose class reads ``init_cfg`` itself and would load the
            tensors that fit, which are those of the student.
    """
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        config = getattr(module, "init_cfg", None)
        configs = [config] if isinstance(config, dict) else config or []
        if _reads_itself(type(module)) and any(_is_ours(each) for each in configs):
            raise InputError(
                f"model.{name}.init_cfg: {type(module).__name__} reads it itself and would load "
                "what fits, the student; write the same init_cfg in model instead"
            )


def _is_ours(config: Any) -> bool:
    return str(config.get("type")).endswith(NAME)


def _reads_itself(kind: type) -> bool:
    return any(
        base.__name__ in READS_ITSELF and base.__module__.startswith(("mmdet.", "mmseg."))
        for base in kind.__mro__
    )


def work_folder() -> Path | None:
    """Return the work folder of the runner that writes the current log, None without a runner."""
    for handler in MMLogger.get_current_instance().handlers:
        if isinstance(handler, logging.FileHandler):
            log = Path(handler.baseFilename)
            # A runner writes WORK_DIR/TIMESTAMP/TIMESTAMP*.log.
            if log.stem.startswith(log.parent.name) and log.parent.name[:1].isdigit():
                return log.parent.parent
    return None
