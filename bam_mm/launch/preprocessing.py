"""Putting the preprocessing of the evaluated model into the config of a run.

The setting ``preprocessing`` of a config decides what happens, see ``docs/preprocessing.md``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from bam_mm.checkpoint.backbone import RANDOM
from bam_mm.checkpoint.file_preprocessing import (
    checkpoint_preprocessing,
    library_of_unknown,
    model_preprocessing,
)
from bam_mm.checkpoint.geometry import (
    GEOMETRY_KEYS,
    RESIZING,
    Geometry,
    is_default,
    read_geometry,
)
from bam_mm.checkpoint.library_preprocessing import other_tags
from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.errors import InputError, listing
from bam_mm.hooks.load_backbone import LoadBackboneHook
from bam_mm.launch.config import import_custom_modules
from bam_mm.launch.data_folders import SCOPES
from bam_mm.launch.preprocessing_setting import Setting
from bam_mm.launch.reach import changed_by
from bam_mm.launch.stated_preprocessing import (
    current_normalisation,
    needs_writing,
    normalises_twice,
    states_normalisation,
    test_pipelines,
    write_geometry,
    write_normalisation,
)
from bam_mm.registry import MODELS
from bam_mm.variables.entries import (
    initialising_checkpoint,
    kind_of,
    loading_hooks,
    look_up,
)

TIMM_SOURCE = "timm"
"""Beginning of the sources that are timm's."""


@dataclass(frozen=True)
class Decision:
    """The preprocessing of a run, and what its user should know about it.

    Attributes:
        used: Preprocessing that the run uses.
        warnings: Messages to log as warnings.
    """

    used: Preprocessing
    warnings: list[str] = field(default_factory=list)

    def log(self) -> None:
        """Log the decision, once the runner has set up its logger."""
        print_log(f"preprocessing: {self.used}", logger="current")
        for message in self.warnings:
            print_log(message, logger="current", level=logging.WARNING)

    def hand_to(self, runner: Runner) -> None:
        """Hand the preprocessing to the hook that writes the proof of loading."""
        for hook in runner.hooks:
            if isinstance(hook, LoadBackboneHook):
                hook.preprocessing = self.used.facts()


def preprocess_for_test(
    config: Config,
    checkpoint: str,
    *,
    options: Iterable[str] = (),
    trust: bool = False,
) -> Decision:
    """Put the preprocessing of the tested model into a config.

    Args:
        config: Config of the run, changed in place.
        checkpoint: Checkpoint of a backbone or of the complete model, or ``random``.
        options: Keys of the config that the command line has set.
        trust: Whether the user has explicitly allowed code in the checkpoint to run.

    Returns:
        The decision.

    Raises:
        InputError: If the setting ``preprocessing`` is wrong, or if the task does not use it.
    """
    _check_uses_size(config)
    import_custom_modules(config)
    if str(checkpoint) != RANDOM and not hasattr(_model_class(config), "load_pretrained"):
        found = checkpoint_preprocessing(checkpoint, trust=trust, geometry=True)
        return settle(config, found, options=options, trained=True)
    return _settle_backbone(config, checkpoint, options, trust)


def preprocess_for_training(
    config: Config,
    *,
    options: Iterable[str] = (),
) -> Decision | None:
    """Put the preprocessing of the backbone that a run starts from into its config.

    A resumed run keeps the preprocessing that its checkpoint records.

    Args:
        config: Config of the run, changed in place.
        options: Keys of the config that the command line has set.

    Returns:
        The decision; None if the run does not start from a backbone.

    Raises:
        InputError: If the setting ``preprocessing`` is wrong, or if the run does not use it.
    """
    hooks = loading_hooks(config)
    if not hooks:
        _check_uses_none(config)
        return None
    _check_uses_size(config)
    import_custom_modules(config)
    trust = hooks[0].get("trust", False)
    if config.get("resume") and config.get("load_from"):
        resumed = checkpoint_preprocessing(config.load_from, trust=trust, geometry=True)
        if resumed is not None:
            return settle(config, resumed, options=options, trained=True)
    own = next((hook.checkpoint for hook in hooks if hook.get("checkpoint")), None)
    file = own or config.get("checkpoint") or initialising_checkpoint(config)
    return _settle_backbone(config, file, options, trust)


def settle(
    config: Config,
    found: Preprocessing | None,
    *,
    options: Iterable[str] = (),
    trained: bool = False,
    backbone: Mapping[str, Any] | None = None,
) -> Decision:
    """Decide on the preprocessing of a run and put it into the config.

    Args:
        config: Config of the run. It is changed only where it states something else.
        found: Preprocessing of the model, None if it states none.
        options: Keys of the config that the command line has set.
        trained: Whether ``found`` is that of the complete model, heads included, which only the
            command line and the setting ``preprocessing`` override.
        backbone: Config of the backbone, if its weights come from a file.

    Returns:
        The decision.

    Raises:
        InputError: If the setting ``preprocessing`` is wrong.
    """
    setting = Setting.of(config.get("preprocessing"))
    warnings: list[str] = []
    changed = changed_by(config, options)
    normalisation = _normalisation(config, setting, found, changed, trained, warnings)
    if needs_writing(config, normalisation):
        write_normalisation(config, current_normalisation(config), normalisation)
    elif normalises_twice(config):
        warnings.append(
            "a Normalize step of the test pipeline and the data preprocessor of the model both "
            "normalise the images: remove one of them, unless this is intended"
        )
    geometry, source = _geometry(config, setting, found, changed, trained, warnings)
    used = replace(normalisation, geometry=geometry, geometry_source=source)
    if backbone is not None and used.source.startswith(TIMM_SOURCE):
        warnings += _other_tags(backbone)
    return Decision(used, warnings)


def set_size(config: Config, size: int, source: str) -> None:
    """Set the size of a task's images, unless the task or the setting ``preprocessing`` does.

    Args:
        config: Config of the run, whose setting ``preprocessing`` is changed.
        size: Side of the images in pixels. A protocol that shows whole images goes on to do so.
        source: Where the size comes from, for messages.
    """
    pipelines = list(test_pipelines(config))
    value = config.get("preprocessing") or "auto"
    if _prescribes_size(config) or not pipelines:
        return
    if any(getattr(Setting.of(value), key) is not None for key in GEOMETRY_KEYS):
        return
    if isinstance(value, str):
        value = {"normalisation": value, "geometry": value}
    whole = {"crop_fraction": 1.0} if read_geometry(pipelines[0]["pipeline"]) is None else {}
    config.preprocessing = {**value, "size": size, "geometry_source": source, **whole}


def described(decision: Decision) -> list[str]:
    """Return what the tables say about a decision: nothing if all of it is the config's."""
    used = decision.used
    lines = [f"normalisation: {used.describe_normalisation()}, from {used.source}"]
    if used.geometry and not used.geometry_source.startswith("the config"):
        lines.append(f"images: {used.geometry}, from {used.geometry_source}")
    changed = not used.is_imagenet and not used.source.startswith("the config")
    return [*(lines if changed else lines[1:]), *decision.warnings]


def explicit(used: Preprocessing) -> dict[str, Any]:
    """Return the value of the setting ``preprocessing`` that keeps a decision.

    The size of the images is in the pipelines already.
    """
    kept = ("mean", "std", "channels", "source", "geometry_source")
    facts = used.facts()
    return {"normalisation": "config", "geometry": "config", **{key: facts[key] for key in kept}}


def _settle_backbone(config: Config, file: Any, options: Iterable[str], trust: bool) -> Decision:
    file = None if str(file) == RANDOM else file
    backbone = (config.get("model") or {}).get("backbone") or {}
    found = model_preprocessing(backbone, file, trust=trust)
    decision = settle(config, found, options=options, backbone=None if file is None else backbone)
    stated = config.get("preprocessing") or {}
    unstated = found is None and file is not None and Setting.of(stated).mean is None
    if unstated and (library := library_of_unknown(file, trust=trust)):
        decision.warnings.append(
            f"{file} has the names of {library}, whose models differ in normalisation, and states "
            f"none, so {decision.used.describe_normalisation()} is used: put the model's "
            "preprocessor_config.json beside it, or set preprocessing.mean and std"
        )
    return decision


def _other_tags(backbone: Mapping[str, Any]) -> list[str]:
    others = other_tags(backbone)
    if not others:
        return []
    return [
        f"{backbone['model_name']} is taken as timm's default tag, but other weights of this "
        f"architecture have another normalisation ({listing(others)}): if yours are among them, "
        "use that name"
    ]


def _check_uses_none(config: Config) -> None:
    for key, value in Setting.of(config.get("preprocessing")).wishes().items():
        raise InputError(
            f"preprocessing.{key}={value!r}: nothing uses it, because this training loads no "
            "backbone with bam_mm.LoadBackboneHook; set data_preprocessor and the steps of the "
            "pipelines instead"
        )


def _prescribes_size(config: Config) -> bool:
    return config.get("default_scope") in SCOPES or kind_of(config.model) == "LabelPropagation"


def _check_uses_size(config: Config) -> None:
    value = config.get("preprocessing")
    wishes = Setting.of(value).wishes()
    if isinstance(value, str) or not (_prescribes_size(config) or not any(test_pipelines(config))):
        return
    for key in (*GEOMETRY_KEYS, "geometry"):
        if key in wishes:
            raise InputError(
                f"preprocessing.{key}={wishes[key]!r}: nothing uses it, because the task "
                "prescribes the size of its images; set the steps of the pipelines (video: "
                "model.short_side) instead"
            )


def _model_class(config: Config) -> Any:
    kind = (config.get("model") or {}).get("type", "")
    if not isinstance(kind, str):
        return kind
    with MODELS.switch_scope_and_registry(config.get("default_scope", "mmpretrain")) as registry:
        return registry.get(kind)


def _normalisation(
    config: Config,
    setting: Setting,
    found: Preprocessing | None,
    options: Mapping[str, str],
    trained: bool,
    warnings: list[str],
) -> Preprocessing:
    if setting.mean is not None and setting.std is not None:
        return Preprocessing(setting.mean, setting.std, setting.source, setting.channels or "rgb")
    current = current_normalisation(config)
    named = [key for key in options if _names_normalisation(key)]
    differs = found is not None and not found.same_normalisation(current)
    if setting.normalisation == "config" or named:
        reason = f"option {options[named[0]]}" if named else "preprocessing.normalisation=config"
        if trained and found is not None and differs:
            warnings.append(
                f"the checkpoint was trained with {found.describe_normalisation()} "
                f"({found.source}), but is tested with another normalisation ({reason})"
            )
        return replace(current, source=f"the config ({reason})")
    if found is None:
        what = "ImageNet's, the default of the config" if current.is_imagenet else "the config"
        states = "the checkpoint records" if trained else "the model states"
        return replace(current, source=f"{what} ({states} none)")
    given_way = current.is_imagenet or not states_normalisation(config)
    if trained or setting.normalisation == "model" or given_way:
        if differs and setting.normalisation != "model" and not given_way:
            warnings.append(
                f"the config sets {current.describe_normalisation()}, but the checkpoint was "
                f"trained with {found.describe_normalisation()} ({found.source}), which is used: "
                "set preprocessing.normalisation=config to use the config's"
            )
        return found
    if differs:
        warnings.append(
            f"the config sets {current.describe_normalisation()}, which is used instead of the "
            f"model's own {found.describe_normalisation()} (from {found.source}): set "
            "preprocessing.normalisation=model to use that"
        )
    return replace(current, source="the config")


def _names_normalisation(key: str) -> bool:
    parts = key.removeprefix("+").split(".")
    if parts in (["model", "mean"], ["model", "std"]) or parts[-1] == "data_preprocessor":
        return True
    inside = "data_preprocessor" in parts or "pipeline" in parts
    return inside and parts[-1] in ("mean", "std", "to_rgb", "bgr_to_rgb")


def _names_size(config: Config, key: str, option: str) -> bool:
    parts = key.split(".")
    if "pipeline" not in parts or _names_normalisation(key):
        return False
    if key == option:
        return True
    below = parts[parts.index("pipeline") + 1 :]
    step = look_up(config, ".".join(parts[: len(parts) - len(below) + 1]))[0]
    return parts[0] != "train_dataloader" and (not below or kind_of(step) in RESIZING)


def _geometry(
    config: Config,
    setting: Setting,
    found: Preprocessing | None,
    options: Mapping[str, str],
    trained: bool,
    warnings: list[str],
) -> tuple[Geometry | None, str]:
    pipelines = list(test_pipelines(config))
    current = read_geometry(pipelines[0]["pipeline"]) if pipelines else None
    wanted = found.geometry if found else None
    source = found.geometry_source if found else ""
    chosen = {
        key: value for key in GEOMETRY_KEYS if (value := getattr(setting, key, None)) is not None
    }
    if _prescribes_size(config) or not pipelines:
        return None, "the config (the protocol of the task prescribes it)"
    if chosen:
        base = wanted if wanted and setting.geometry != "config" else current
        if base is None and "size" not in chosen:
            raise InputError(
                f"preprocessing.{next(iter(chosen))}: neither the model nor the config has a size; "
                "set preprocessing.size too"
            )
        wanted = replace(base, **chosen) if base else Geometry(**{"crop_fraction": 1.0, **chosen})
        source = setting.geometry_source or "the setting preprocessing"
    elif wanted is None or setting.geometry == "config":
        note = "preprocessing.geometry=config" if wanted else "the model states none"
        return current, setting.geometry_source or f"the config ({note})"
    elif named := [option for key, option in options.items() if _names_size(config, key, option)]:
        return current, f"the config (option {named[0]})"
    elif setting.geometry == "auto" and trained:
        if wanted != current and not is_default(pipelines[0]["pipeline"]):
            warnings.append(
                f"the config says {current or 'another resizing of test images'}, but the "
                f"checkpoint was trained with {wanted} ({source}), which is used: set "
                "preprocessing.geometry=config to use the config's"
            )
    elif setting.geometry == "auto" and not is_default(pipelines[0]["pipeline"]):
        own = f" (the model's own: {wanted})" if wanted != current else ""
        return current, f"the config{own}"
    if wanted != current:
        write_geometry(config, wanted, forced="size" in chosen)
    return wanted, source
