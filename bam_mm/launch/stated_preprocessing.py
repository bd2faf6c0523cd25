"""Normalisation and size of images in the configs of OpenMMLab's libraries: read and changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict

from bam_mm.checkpoint.geometry import DEFAULT_SIZE, Geometry, set_geometry
from bam_mm.checkpoint.library_preprocessing import (
    RGB_DATASETS,
    read_normalisation,
    timm_preprocessing,
)
from bam_mm.checkpoint.preprocessing import IMAGENET, Preprocessing
from bam_mm.errors import InputError
from bam_mm.launch.data_folders import SCOPES
from bam_mm.launch.entries import replace
from bam_mm.variables.entries import kind_of, plain, walk

LOADERS = ("test_dataloader", "val_dataloader")
LOOP_LOADERS = ("bank", "train", "val")
"""Loaders in the ``test_cfg`` of the loops that score features."""


def _place(config: Config) -> Any:
    """Return the config of the data preprocessor, None if there is none."""
    model = config.get("model") or {}
    own = model.get("data_preprocessor")
    return own if own is not None else config.get("data_preprocessor")


def states_normalisation(config: Config) -> bool:
    """Return whether a config states a mean, instead of leaving it to a default."""
    if kind_of(config.get("model") or {}) == "LabelPropagation":
        return "mean" in config.model or "std" in config.model
    stated = (_place(config) or {}).get("mean") is not None
    return stated or normalising_step(config) is not None


def normalising_step(config: Config) -> Mapping[str, Any] | None:
    """Return the step of a test pipeline that normalises, None if the model does it."""
    for dataset in test_pipelines(config):
        for step in _normalising_steps(dataset["pipeline"]):
            return step
    return None


def _normalising_steps(node: Any) -> Iterator[Any]:
    for _, entry in walk(node):
        if isinstance(entry, Mapping) and kind_of(entry) == "Normalize":
            yield entry


def normalises_twice(config: Config) -> bool:
    """Return whether a step of a test pipeline and the model both normalise the images."""
    if normalising_step(config) is None:
        return False
    place = _place(config)
    if place is None:
        return kind_of(config.get("model") or {}) == "FrozenFeatures"
    return place.get("mean") is not None or kind_of(place) == "MultiViewPreprocessor"


def current_normalisation(config: Config) -> Preprocessing:
    """Return the normalisation that the config states, or ImageNet's if it leaves it open."""
    model = config.get("model") or {}
    if kind_of(model) == "LabelPropagation":
        mean, std = (
            tuple(255 * float(value) for value in model[key]) if key in model else default
            for key, default in (("mean", IMAGENET.mean), ("std", IMAGENET.std))
        )
        return Preprocessing(mean, std, "", "rgb" if model.get("to_rgb", True) else "bgr")
    place = normalising_step(config) or _place(config)
    if place is None and kind_of(model) == "FrozenFeatures":
        return IMAGENET
    return read_normalisation(place or {}, "", rgb=_reads_rgb(config)) or IMAGENET


def needs_writing(config: Config, wanted: Preprocessing) -> bool:
    """Return whether a run of the config would normalise in another way than wanted."""
    model = config.get("model") or {}
    own = None
    if kind_of(model) == "FrozenFeatures" and _place(config) is None:
        own = timm_preprocessing(model.get("backbone") or {})  # The default of the class.
    stated = current_normalisation(config)
    return not all(wanted.same_normalisation(other) for other in (stated, own or stated))


def _reads_rgb(config: Config) -> bool:
    return any(kind_of(dataset) in RGB_DATASETS for dataset in test_pipelines(config))


def write_normalisation(config: Config, old: Preprocessing, new: Preprocessing) -> None:
    """Set the normalisation of a config where it is stated, and the colours that depend on it.

    Args:
        config: Config of the run, changed in place.
        old: Normalisation that the config states.
        new: Normalisation to set.

    Raises:
        InputError: If a step of a pipeline and the model both normalise the images.
    """
    model = config.model
    if kind_of(model) == "LabelPropagation":
        model.mean, model.std = (tuple(v / 255 for v in values) for values in (new.mean, new.std))
        if "to_rgb" in model or new.channels == "bgr":
            model.to_rgb = new.channels == "rgb"
        return
    if normalising_step(config) is not None:
        _write_steps(config, new)
        _fill_with(config, old, new)
        return
    key = "bgr_to_rgb" if config.get("default_scope") in SCOPES else "to_rgb"
    converted = (new.channels == "rgb") != _reads_rgb(config)
    values = {"mean": list(new.mean), "std": list(new.std), key: converted}
    place = _place(config)
    if place is None:
        kinds = {"mmdet": "DetDataPreprocessor", "mmseg": "SegDataPreProcessor"}
        kind = kinds.get(config.get("default_scope", ""))
        model.data_preprocessor = ConfigDict(values, **({"type": kind} if kind else {}))
    else:
        place.update(values)
    _fill_with(config, old, new)


def _write_steps(config: Config, new: Preprocessing) -> None:
    if normalises_twice(config):
        raise InputError(
            "a Normalize step of the test pipeline and the data preprocessor of the model both "
            f"normalise the images, so {new.describe_normalisation()} cannot be set; remove the "
            "steps from the pipelines, or mean, std and to_rgb from data_preprocessor"
        )
    converted = (new.channels == "rgb") != _reads_rgb(config)
    values = {"mean": list(new.mean), "std": list(new.std), "to_rgb": converted}
    for name, entry in config.items():
        if name != "model" and isinstance(entry, (Mapping, list, tuple)):
            for step in list(_normalising_steps(entry)):
                step.update(values)


def _fill_with(config: Config, old: Preprocessing, new: Preprocessing) -> None:
    """Set the colours that augmentations fill with, which are the mean of BGR images."""

    def bgr(found: Preprocessing, values: tuple[float, ...]) -> list[float]:
        return list(values[::-1] if found.channels == "rgb" else values)

    def change(name: str) -> Callable[[Any], Any]:
        before, after = (bgr(p, p.std if name == "fill_std" else p.mean) for p in (old, new))
        if name == "pad_val":
            before, after = _whole(before), _whole(after)
        return lambda value: after if plain(value) == before else value

    for name in ("fill_color", "fill_std", "pad_val"):
        replace(config.get("train_dataloader"), [name], change(name))


def _whole(values: list[float]) -> list[float]:
    return [min(255, round(value)) for value in values]


def test_pipelines(config: Config) -> Iterator[Any]:
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


def write_geometry(config: Config, geometry: Geometry, *, forced: bool) -> None:
    """Set the size of test images, and that of the random crops in training.

    Args:
        config: Config of the run, changed in place.
        geometry: New size, resizing and crop of test images.
        forced: Whether random crops that do not have ImageNet's size change too.
    """
    for dataset in test_pipelines(config):
        dataset["pipeline"] = set_geometry(dataset["pipeline"], geometry)
    loader = config.get("train_dataloader") or {}
    for step in (loader.get("dataset") or {}).get("pipeline") or ():
        if kind_of(step) == "RandomResizedCrop" and (forced or step.get("scale") == DEFAULT_SIZE):
            step["scale"] = geometry.size
