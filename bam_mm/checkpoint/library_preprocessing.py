"""The preprocessing of models of timm and mmpretrain, and that in the config of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mmengine.config import Config

from bam_mm.checkpoint.geometry import Geometry, read_geometry
from bam_mm.checkpoint.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from bam_mm.variables.entries import kind_of

TIMM_TYPES = ("TIMMBackbone", "DenseTIMM")
"""Backbones whose ``model_name`` is a pretrained model of timm."""

RGB_DATASETS = ("CIFAR10", "CIFAR100")
"""Data sets of mmpretrain whose images are RGB; all others are BGR."""


def timm_preprocessing(backbone: Mapping[str, Any]) -> Preprocessing | None:
    """Return the preprocessing in timm's ``pretrained_cfg`` of a backbone.

    Args:
        backbone: Config of a backbone, such as ``dict(type='mmpretrain.TIMMBackbone',
            model_name='vit_base_patch16_224.augreg_in21k')``. The tag after the dot decides;
            without it, timm's default tag does. If the config sets ``img_size``, the size is that.

    Returns:
        The preprocessing; None if the backbone is not timm's, or timm has no pretrained config.
    """
    if kind_of(backbone) not in TIMM_TYPES:
        return None
    import timm  # Slow to import and rarely needed.

    try:
        pretrained = timm.get_pretrained_cfg(backbone.get("model_name", ""))
    except RuntimeError:  # The tag does not exist; building the model reports it.
        return None
    if pretrained is None or len(pretrained.mean or ()) != 3:
        return None
    found = timm.data.resolve_data_config(pretrained_cfg=pretrained.to_dict(), verbose=False)
    size = backbone.get("img_size") or found["input_size"][1:]
    sides = {size} if isinstance(size, int) else set(size)
    filtering = found["interpolation"]
    geometry = None
    if len(sides) == 1 and found["crop_mode"] in ("center", "squash"):
        geometry = Geometry(
            sides.pop(),
            float(found["crop_pct"]),
            "bicubic" if filtering == "random" else filtering,
            found["crop_mode"] == "squash",
        )
    # timm has a tag for each pretrained file of an architecture.
    name = f"{pretrained.architecture}.{pretrained.tag}".rstrip(".")
    mean, std = (tuple(round(255.0 * v, 6) for v in found[key]) for key in ("mean", "std"))
    source = f"timm's pretrained_cfg of {name}"
    return Preprocessing(mean, std, source, "rgb", geometry, source if geometry else "")


def other_tags(backbone: Mapping[str, Any]) -> list[str]:
    """List the tags of a timm model that normalise in another way than its default tag.

    Args:
        backbone: Config of a backbone.

    Returns:
        Names such as ``vit_base_patch16_224.dino``; empty if the config names a tag itself.
    """
    own = timm_preprocessing(backbone)
    name = str(backbone.get("model_name"))
    if own is None or "." in name:
        return []
    import timm

    tags = timm.list_pretrained(f"{name}.*")
    others = {tag: timm_preprocessing({**backbone, "model_name": tag}) for tag in tags}
    return [tag for tag, found in others.items() if found and not found.same_normalisation(own)]


def index_preprocessing(name: str) -> Preprocessing | None:
    """Return the preprocessing in the config of a model in mmpretrain's index.

    Args:
        name: Name of the model, such as ``vit-base-p16_32xb128-mae_in1k``.

    Returns:
        The preprocessing; None if the config states none.
    """
    from mmpretrain.apis.model import ModelHub  # Slow to import and rarely needed.

    config = ModelHub.get(name).config
    kept = {key: config.get(key) for key in ("model", "data_preprocessor", "test_dataloader")}
    settings = Config({key: value for key, value in kept.items() if value}).to_dict()
    return settings_preprocessing(settings, f"mmpretrain's config of {name}", geometry=True)


def settings_preprocessing(
    settings: Mapping[str, Any], source: str, *, geometry: bool
) -> Preprocessing | None:
    """Return the preprocessing in the config of a run of any OpenMMLab library.

    Args:
        settings: Values of the config by name.
        source: Description of the config, for messages.
        geometry: Whether to read the size of the test images as well.

    Returns:
        The preprocessing; None if the config has neither a data preprocessor nor a step that
        normalises.
    """
    model = settings.get("model")
    model = model if isinstance(model, Mapping) else {}
    place = model.get("data_preprocessor") or settings.get("data_preprocessor")
    dataset = _dataset(settings)
    pipeline = dataset.get("pipeline")
    pipeline = pipeline if isinstance(pipeline, Sequence) else ()
    if not (place or {}).get("mean"):
        steps = [step for step in pipeline if kind_of(step) == "Normalize"]
        place = (steps or [settings.get("img_norm_cfg")])[0] or place
    if not isinstance(place, Mapping):
        return None
    found = read_normalisation(place, source, rgb=kind_of(dataset) in RGB_DATASETS)
    sized = read_geometry(pipeline) if geometry else None
    return found and replace(found, geometry=sized, geometry_source=source if sized else "")


def read_normalisation(
    place: Mapping[str, Any], source: str, *, rgb: bool = False
) -> Preprocessing | None:
    """Return the normalisation that the config of a data preprocessor describes.

    Args:
        place: Config of a data preprocessor of mmpretrain, mmdet or mmseg, or of a ``Normalize``
            step.
        source: Description of the config, for messages.
        rgb: Whether the data set returns RGB, instead of BGR as most do.

    Returns:
        The normalisation; None if it is not for three channels.
    """
    ours = kind_of(place) == "MultiViewPreprocessor"
    rgb_unless_stated = ours or kind_of(place) == "Normalize"
    mean, std = place.get("mean"), place.get("std")
    if mean is None or std is None:
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if ours else ((0.0,), (1.0,))
    converted = any(
        place.get(key, default)
        for key, default in (
            ("to_rgb", rgb_unless_stated),
            ("bgr_to_rgb", False),
            ("rgb_to_bgr", False),
        )
    )
    mean, std = three_channels(mean), three_channels(std)
    if mean is None or std is None:
        return None
    return Preprocessing(mean, std, source, "rgb" if converted != rgb else "bgr")


def three_channels(values: Any) -> tuple[float, ...] | None:
    """Return a value of each channel: three numbers, or one for all; None for anything else."""
    values = list(values) if isinstance(values, Sequence) else [values]
    if len(values) == 1:
        values *= 3
    numeric = all(isinstance(v, (int, float)) for v in values)
    return tuple(map(float, values)) if len(values) == 3 and numeric else None


def _dataset(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("test_dataloader", "val_dataloader"):
        loader = settings.get(name)
        dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
        while isinstance(dataset, Mapping) and isinstance(dataset.get("dataset"), Mapping):
            dataset = dataset["dataset"]
        if isinstance(dataset, Mapping):
            return dataset
    return {}
