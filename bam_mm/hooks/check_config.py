"""Checks at the start of a run that its config means what it says, in any tool."""

from __future__ import annotations

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner.base_loop import BaseLoop

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.hooks.dino_schedule import DINOScheduleHook
from bam_mm.hooks.load_backbone import LoadBackboneHook
from bam_mm.hooks.teacher_update import TeacherUpdateHook
from bam_mm.methods.dino import DINO
from bam_mm.models.pretrained_backbone import check_initialisers, loaded_by_initialiser
from bam_mm.models.siamese import SiameseModel
from bam_mm.registry import HOOKS
from bam_mm.variables.behind import Behind, behind_in_files, behind_options
from bam_mm.variables.entries import LOADS, lacking_hook
from bam_mm.variables.uses import config_files, parsed, uses_of


@HOOKS.register_module()
class CheckConfigHook(Hook):
    """Stop if a variable of the run's config has one value and the entries that use it another.

    This happens if a config sets a variable of its base anew (``data_root = 'photos'``), or if a
    tool of another library merges it as an option. mmengine has copied the base's value by then.
    Only entries that the run reads are compared. Configs without a file, copies in work folders and
    configs of pure Python have no variables to compare.

    A list ``custom_hooks`` replaces the one of its base. So a training stops, too, if it has a
    teacher but no hook that moves it, or a variable ``checkpoint`` but no hook that reads it.

    Attributes:
        options: Whether to compare the config with its file. ``bam-mm`` brings options to the
            entries itself and sets it to False.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self.options = True

    def before_run(self, runner) -> None:
        """Compare variables and entries, and find initialisers that are not called.

        Raises:
            InputError: If variables and entries differ (:func:`check_variables`), or
                ``bam_mm.PretrainedBackbone`` is in a class that reads ``init_cfg`` itself.
        """
        check_initialisers(unwrap_model(runner.model))
        parts = _parts(runner)
        for each in check_variables(runner.cfg, parts, options=self.options):
            runner.logger.warning(each.message(runner.cfg))

    def before_train(self, runner) -> None:
        """Check that the hooks are there that the config's model and variables rely on.

        Raises:
            InputError: If one of them is missing.
        """
        model = unwrap_model(runner.model)
        if isinstance(model, SiameseModel) and model.teacher is not None:
            _check_present(
                runner, TeacherUpdateHook, f"updates the teacher of bam_mm.{type(model).__name__}"
            )
        if isinstance(model, DINO):
            _check_present(runner, DINOScheduleHook, "tells bam_mm.DINO the epoch")
        if _relies_on_loading(runner.cfg, model):
            _check_present(runner, LoadBackboneHook, LOADS)


def check_variables(config, parts: tuple[str, ...], *, options: bool = True) -> list[Behind]:
    """Check that the entries of a config that a run reads have the values of its variables.

    Args:
        config: Config of the run, with the file that it was read from.
        parts: Parts of the run, of ``train``, ``val`` and ``test``.
        options: Whether to compare the config with its file, too.

    Returns:
        Variables whose entries differ in a way that may be meant (:mod:`~bam_mm.variables.behind`).

    Raises:
        InputError: If a variable changes nothing, or one part of the run has both values.
    """
    file = getattr(config, "filename", None)
    if not file or not Path(file).is_file():
        return []
    found = behind_options(config, file, parts=parts) if options else []
    found += behind_in_files(config, file, parts=parts)
    for each in found:
        if each.decisive:
            raise InputError(each.message(config))
    return [each for each in found if each.file is not None or each.mixed]


def _parts(runner) -> tuple[str, ...]:
    # Before a run, exactly the loops are built that it needs.
    if isinstance(runner._train_loop, BaseLoop):
        return ("train", "val")
    return ("test",) if isinstance(runner._test_loop, BaseLoop) else ("val",)


def _check_present(runner, kind: type[Hook], task: str) -> None:
    if not any(isinstance(hook, kind) for hook in runner.hooks):
        raise InputError(lacking_hook(runner.cfg, kind.__name__, task))


def _relies_on_loading(config, model) -> bool:
    """Return whether the variable ``checkpoint`` needs a hook that loads it."""
    if "checkpoint" not in config or _uses(config, "checkpoint"):
        return False
    backbone = getattr(model, "backbone", None)
    return config.checkpoint is not None or loaded_by_initialiser(backbone) is None


def _uses(config, name: str) -> bool:
    """Return whether an entry of the config takes a variable, as in other libraries' configs."""
    file = getattr(config, "filename", None)
    return bool(file and Path(file).is_file() and uses_of(name, parsed(config_files(file))))
