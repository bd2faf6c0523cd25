"""Comparison of the preprocessing of a config with that of the checkpoint that it tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner.base_loop import BaseLoop

from bam_mm.checkpoint.geometry import kind_of
from bam_mm.checkpoint.library_preprocessing import settings_preprocessing
from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.checkpoint.recorded_config import parse_settings
from bam_mm.registry import HOOKS


@HOOKS.register_module()
class CheckPreprocessingHook(Hook):
    """Warn if a checkpoint was trained with another preprocessing than the config states.

    ``bam-mm train`` puts the preprocessing of the pretrained model into the config of the run, and
    ``bam-mm test`` takes it from the checkpoint. The libraries' own ``tools/test.py`` know nothing
    of it: the config file that was trained may state ImageNet's normalisation, while the dumped
    config in the work folder has that of the training.
    """

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Compare the checkpoint of a test with the config, and log a warning if they differ."""
        # A training has its own preprocessing, whatever it starts from with `load_from`.
        if runner._resume or isinstance(runner._train_loop, BaseLoop):
            return
        settings = _recorded(checkpoint)
        config = runner.cfg.to_dict()
        if _kind(settings) != _kind(config):
            return
        trained, used = (
            settings_preprocessing(each, "", geometry=True) for each in (settings, config)
        )
        if trained is None or used is None:
            return
        if not trained.same_normalisation(used) or trained.geometry != used.geometry:
            runner.logger.warning(
                f"{runner._load_from} was trained with {_text(trained)}, but this config has "
                f"{_text(used)}: test with the config in the work folder of the training, or with "
                "`bam-mm test`, unless this is intended"
            )


def _recorded(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    meta = checkpoint.get("meta")
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        return parse_settings(text if isinstance(text, str) else "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _kind(settings: Mapping[str, Any]) -> str:
    """Return the type of the complete model, ``""`` if there is none."""
    model = settings.get("model")
    return kind_of(model) if isinstance(model, Mapping) else ""


def _text(found: Preprocessing) -> str:
    size = f" and {found.geometry}" if found.geometry else ""
    return found.describe_normalisation() + size
