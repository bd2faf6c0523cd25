"""Putting the preprocessing of the evaluated model into the config of a run.

The setting ``preprocessing`` of a config decides what happens, see ``docs/preprocessing.md``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from bam_mm.checkpoint.geometry import (
    DEFAULT_SIZE,
    GEOMETRY_KEYS,
    Geometry,
    is_default,
    kind_of,
    read_geometry,
    set_geometry,
)
from bam_mm.checkpoint.preprocessing import (
    IMAGENET,
    RGB_DATASETS,
    Preprocessing,
    checkpoint_preprocessing,
    model_preprocessing,
    other_tags,
    timm_preprocessing,
    read_normalisation,
)
from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules, plain
from bam_mm.launch.config import replace as replace_entries
from bam_mm.launch.data_folders import SCOPES
from bam_mm.registry import MODELS

CHOICES = ("auto", "model", "config")
"""Values of ``preprocessing.normalisation`` and ``preprocessing.geometry``."""

LOADERS = ("test_dataloader", "val_dataloader")
LOOP_LOADERS = ("bank", "train", "val")
"""Loaders in the ``test_cfg`` of the loops that score features."""

TIMM_SOURCE = "timm"
"""Beginning of the sources that are timm's."""

RANDOM = "random"
"""Word that replaces a checkpoint and stands for random weights."""


@dataclass(frozen=True)
class Setting:
    """The setting ``preprocessing`` of a config.

    Attributes:
        normalisation: ``auto``, ``model`` or ``config``.
        geometry: ``auto``, ``model`` or ``config``.
        mean: Mean of each channel, for pixel values in [0, 255], which replaces all others.
        std: Standard deviation of each channel; set together with ``mean``.
        channels: Order in which the model takes the channels, ``rgb`` or ``bgr``.
        size: Side of the centre crop in pixels, which replaces all others.
        crop_fraction: Size of the crop divided by the short side of the resized image.
        interpolation: Name of the interpolation.
        squash: Whether images are resized to a square.
        source: Where ``mean`` and ``std`` come from, for messages.
        geometry_source: Where ``size`` comes from, for messages.
    """

    normalisation: str = "auto"
    geometry: str = "auto"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str = "rgb"
    size: int | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    squash: bool | None = None
    source: str = "the setting preprocessing"
    geometry_source: str = "the setting preprocessing"

    @classmethod
    def of(cls, value: Any) -> Setting:
        """Read the setting.

        Args:
            value: ``auto``, ``model`` or ``config`` for everything, a dict of the attributes, or
                None for ``auto``.

        Raises:
            InputError: If a key or a value is wrong.
        """
        if value is None or isinstance(value, str):
            value = {} if value is None else {"normalisation": value, "geometry": value}
        known = list(cls.__dataclass_fields__)
        if not isinstance(value, Mapping):
            raise InputError(
                f"preprocessing={value!r}: set one of {', '.join(CHOICES)}, or a dict with some of "
                f"{', '.join(known)}"
            )
        for key in value:
            if key not in known:
                close = get_close_matches(str(key), known, n=1, cutoff=0.5) or known
                raise InputError(f"preprocessing.{key}: no such setting; use {', '.join(close)}")
        entries = {key: plain(entry) for key, entry in value.items() if entry is not None}
        setting = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()})
        setting._check()
        return setting

    def _check(self) -> None:
        for name, choices in (
            ("normalisation", CHOICES),
            ("geometry", CHOICES),
            ("channels", ("rgb", "bgr")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"preprocessing.{name}={getattr(self, name)!r}: choose one of "
                    f"{', '.join(choices)}"
                )
        for name, least in (("mean", None), ("std", 0)):
            values = getattr(self, name)
            if (self.mean is None) != (self.std is None) or (
                values is not None and not _three_numbers(values, least)
            ):
                raise InputError(
                    f"preprocessing.{name}={plain(values)}: set mean and std together, each as "
                    "three numbers for pixel values in [0, 255], as in "
                    '--cfg-options preprocessing.mean="[127.5,127.5,127.5]" '
                    'preprocessing.std="[127.5,127.5,127.5]"'
                )
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise InputError(
                f"preprocessing.size={self.size!r}: set the side of the crop in pixels, as in "
                "preprocessing.size=224"
            )
        fraction = self.crop_fraction
        if fraction is not None and not (_is_number(fraction) and 0 < fraction <= 1):
            raise InputError(
                f"preprocessing.crop_fraction={fraction!r}: set the size of the crop divided by "
                "the short side of the resized image, above 0 and at most 1"
            )


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
        InputError: If the setting ``preprocessing`` is wrong.
    """
    import_custom_modules(config)
    file = None if str(checkpoint) == RANDOM else checkpoint
    whole = file is not None and not hasattr(_model_class(config), "load_pretrained")
    if whole:
        found = checkpoint_preprocessing(checkpoint, trust=trust, geometry=True)
        return settle(config, found, options=options, trained=True)
    return _settle_backbone(config, file, options, trust)


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
        InputError: If the setting ``preprocessing`` is wrong.
    """
    hooks = [h for h in config.get("custom_hooks") or () if kind_of(h) == "LoadBackboneHook"]
    if not hooks:
        return None
    import_custom_modules(config)
    hook, trust = hooks[0], hooks[0].get("trust", False)
    resumed = None
    if config.get("resume") and config.get("load_from"):
        resumed = checkpoint_preprocessing(config.load_from, trust=trust, geometry=True)
    file = None if hook.get("checkpoint") in (None, RANDOM) else hook.checkpoint
    if resumed is not None:
        decision = settle(config, resumed, options=options, trained=True)
    else:
        decision = _settle_backbone(config, file, options, trust)
    for hook in hooks:
        hook.preprocessing = decision.used.facts()
    return decision


def settle(
    config: Config,
    found: Preprocessing | None,
    *,
    options: Iterable[str] = (),
    trained: bool = False,
) -> Decision:
    """Decide on the preprocessing of a run and put it into the config.

    Args:
        config: Config of the run. It is changed only where it states something else.
        found: Preprocessing of the model, None if it states none.
        options: Keys of the config that the command line has set.
        trained: Whether ``found`` is that of the complete model, heads included, which only the
            command line and the setting ``preprocessing`` override.

    Returns:
        The decision.

    Raises:
        InputError: If the setting ``preprocessing`` is wrong.
    """
    setting = Setting.of(config.get("preprocessing"))
    warnings: list[str] = []
    normalisation = _normalisation(config, setting, found, tuple(options), trained, warnings)
    written = _current(config)
    if not normalisation.same_normalisation(written):
        _write_normalisation(config, written, normalisation)
    geometry, source = _geometry(config, setting, found)
    used = replace(normalisation, geometry=geometry, geometry_source=source)
    return Decision(used, warnings)


def described(decision: Decision) -> list[str]:
    """Return what the tables say about a decision: nothing if all of it is the config's."""
    used = decision.used
    lines = [f"normalisation: {used.describe_normalisation()}, from {used.source}"]
    if used.geometry and not used.geometry_source.startswith("the config"):
        lines.append(f"images: {used.geometry}, from {used.geometry_source}")
    changed = not used.is_imagenet and not used.source.startswith("the config")
    return [*(lines if changed else lines[1:]), *decision.warnings]


def explicit(used: Preprocessing) -> dict[str, Any]:
    """Return the value of the setting ``preprocessing`` that repeats a decision."""
    facts = {key: value for key, value in used.facts().items() if value is not None}
    return {"normalisation": "config", "geometry": "config", **facts}


def _settle_backbone(
    config: Config, file: Any, options: Iterable[str], trust: bool
) -> Decision:
    backbone = (config.get("model") or {}).get("backbone") or {}
    found = model_preprocessing(backbone, file, trust=trust)
    decision = settle(config, found, options=options)
    others = other_tags(backbone) if file is not None and _is_timms(decision.used) else []
    if others:
        decision.warnings.append(
            f"model.backbone.model_name={backbone['model_name']}: other weights of this "
            f"architecture have another normalisation ({', '.join(others[:6])}); if yours are one "
            "of them, set model_name to that name"
        )
    return decision


def _model_class(config: Config) -> Any:
    kind = (config.get("model") or {}).get("type", "")
    if not isinstance(kind, str):
        return kind
    with MODELS.switch_scope_and_registry(config.get("default_scope", "mmpretrain")) as registry:
        return registry.get(kind)


def _is_timms(used: Preprocessing) -> bool:
    return used.source.startswith(TIMM_SOURCE)


def _normalisation(
    config: Config,
    setting: Setting,
    found: Preprocessing | None,
    options: tuple[str, ...],
    trained: bool,
    warnings: list[str],
) -> Preprocessing:
    if setting.mean is not None and setting.std is not None:
        return Preprocessing(setting.mean, setting.std, setting.source, setting.channels)
    current = _current(config)
    named = [key for key in options if _names_normalisation(key)]
    step = _normalising_step(config)
    if setting.normalisation == "config" or named or step:
        reason = "preprocessing.normalisation=config"
        if named or step:
            reason = f"option {named[0]}" if named else "a Normalize step of its pipeline"
        if trained and found is not None and not found.same_normalisation(current):
            warnings.append(
                f"the checkpoint was trained with {found.describe_normalisation()} "
                f"({found.source}), but is tested with another normalisation ({reason})"
            )
        return replace(current, source=f"the config ({reason})")
    if found is None:
        what = "ImageNet's, the default of the config" if current.is_imagenet else "the config"
        states = "the checkpoint records" if trained else "the model states"
        return replace(current, source=f"{what} ({states} none)")
    given_way = current.is_imagenet or not _states_normalisation(config)
    if trained or setting.normalisation == "model" or given_way:
        return found
    if not found.same_normalisation(current):
        warnings.append(
            f"the config sets {current.describe_normalisation()}, which is used instead of the "
            f"model's own {found.describe_normalisation()} (from {found.source}): set "
            "preprocessing.normalisation=model to use that"
        )
    return replace(current, source="the config")


def _names_normalisation(key: str) -> bool:
    parts = key.split(".")
    return key in ("model.mean", "model.std") or (
        "data_preprocessor" in parts
        and parts[-1] in ("data_preprocessor", "mean", "std", "to_rgb", "bgr_to_rgb")
    )


def _place(config: Config) -> Any:
    """Return the config of the data preprocessor, None if there is none."""
    model = config.get("model") or {}
    own = model.get("data_preprocessor")
    return own if own is not None else config.get("data_preprocessor")


def _states_normalisation(config: Config) -> bool:
    if kind_of(config.get("model") or {}) == "LabelPropagation":
        return "mean" in config.model or "std" in config.model
    return (_place(config) or {}).get("mean") is not None


def _normalising_step(config: Config) -> Mapping[str, Any] | None:
    for dataset in _test_pipelines(config):
        for step in dataset["pipeline"]:
            if kind_of(step) == "Normalize":
                return step
    return None


def _current(config: Config) -> Preprocessing:
    """Return the normalisation that the config states, or the default of its model."""
    model = config.get("model") or {}
    if kind_of(model) == "LabelPropagation":
        mean, std = (
            tuple(255 * float(value) for value in model[key]) if key in model else default
            for key, default in (("mean", IMAGENET.mean), ("std", IMAGENET.std))
        )
        return Preprocessing(mean, std, "", "rgb" if model.get("to_rgb", True) else "bgr")
    place = _normalising_step(config) or _place(config)
    if place is None and kind_of(model) == "FrozenFeatures":
        # Its own default, which settle() writes into the config if it is not ImageNet's.
        return timm_preprocessing(model.get("backbone") or {}) or IMAGENET
    place = place or {}
    return read_normalisation(place, "", rgb=_reads_rgb(config)) or IMAGENET


def _reads_rgb(config: Config) -> bool:
    return any(kind_of(dataset) in RGB_DATASETS for dataset in _test_pipelines(config))


def _write_normalisation(config: Config, old: Preprocessing, new: Preprocessing) -> None:
    model = config.model
    if kind_of(model) == "LabelPropagation":
        model.mean, model.std = (tuple(v / 255 for v in values) for values in (new.mean, new.std))
        if new.channels == "bgr":
            model.to_rgb = False
        return
    key = "bgr_to_rgb" if config.get("default_scope") in SCOPES else "to_rgb"
    converted = (new.channels == "rgb") != _reads_rgb(config)
    values = {"mean": list(new.mean), "std": list(new.std), key: converted}
    place = _place(config)
    if place is None:
        model.data_preprocessor = ConfigDict(values)
    else:
        place.update(values)
    _fill_with(config, old, new)


def _fill_with(config: Config, old: Preprocessing, new: Preprocessing) -> None:
    """Set the colours that augmentations fill with, which are the mean of BGR images."""

    def bgr(found: Preprocessing, values: tuple[float, ...]) -> list[float]:
        return list(values[::-1] if found.channels == "rgb" else values)

    def change(name: str) -> Callable[[Any], Any]:
        before, after = (bgr(p, p.std if name == "fill_std" else p.mean) for p in (old, new))
        if name == "pad_val":
            before, after = ([min(255, round(v)) for v in values] for values in (before, after))
        return lambda value: after if plain(value) == before else value

    for name in ("fill_color", "fill_std", "pad_val"):
        replace_entries(config.get("train_dataloader"), [name], change(name))


def _geometry(
    config: Config, setting: Setting, found: Preprocessing | None
) -> tuple[Geometry | None, str]:
    pipelines = list(_test_pipelines(config))
    current = read_geometry(pipelines[0]["pipeline"]) if pipelines else None
    dense = config.get("default_scope") in SCOPES or kind_of(config.model) == "LabelPropagation"
    wanted = found.geometry if found else None
    source = found.geometry_source if found else ""
    chosen = {
        key: value for key in GEOMETRY_KEYS if (value := getattr(setting, key, None)) is not None
    }
    if dense or not pipelines:
        return None, "the config (the protocol of the task prescribes it)"
    if chosen:
        base = wanted if wanted and setting.geometry != "config" else current
        if base is None and "size" not in chosen:
            raise InputError(
                f"preprocessing.{next(iter(chosen))}: neither the model nor the config has a size; "
                "set preprocessing.size too"
            )
        wanted = replace(base, **chosen) if base else Geometry(**{"crop_fraction": 1.0, **chosen})
        source = setting.geometry_source
    elif wanted is None or setting.geometry == "config":
        note = "preprocessing.geometry=config" if wanted else "the model states none"
        return current, f"the config ({note})"
    elif setting.geometry == "auto" and not is_default(pipelines[0]["pipeline"]):
        own = f" (the model's own: {wanted})" if wanted != current else ""
        return current, f"the config{own}"
    if wanted != current:
        for dataset in pipelines:
            dataset["pipeline"] = set_geometry(dataset["pipeline"], wanted)
    _resize_training(config, wanted.size, forced="size" in chosen)
    return wanted, source


def _test_pipelines(config: Config) -> Iterator[Any]:
    """Yield the data sets with a pipeline for test images."""
    loop = config.get("test_cfg") or {}
    loaders = [config.get(name) for name in LOADERS]
    loaders += [loop.get(name) for name in LOOP_LOADERS]
    seen: list[int] = []
    for loader in loaders:
        dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
        while isinstance(dataset, Mapping) and isinstance(dataset.get("dataset"), Mapping):
            dataset = dataset["dataset"]
        if isinstance(dataset, Mapping) and dataset.get("pipeline") and id(dataset) not in seen:
            seen.append(id(dataset))
            yield dataset


def _resize_training(config: Config, size: int, *, forced: bool) -> None:
    loader = config.get("train_dataloader") or {}
    for step in (loader.get("dataset") or {}).get("pipeline") or ():
        if kind_of(step) == "RandomResizedCrop" and (forced or step.get("scale") == DEFAULT_SIZE):
            step["scale"] = size


def _three_numbers(values: Any, least: float | None) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(_is_number(value) and (least is None or value > least) for value in values)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
