"""Fit a model's backbone into tasks on vectors and patches: probes, fine-tuning, video."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from bam_mm.errors import InputError
from bam_mm.launch.stated_preprocessing import test_pipelines
from bam_mm.models.adapters import BackboneAdapter, adapter_of
from bam_mm.models.overlapping_patches import lay_patches_closer
from bam_mm.models.patch_features import build_map_backbone, feature_map
from bam_mm.models.probe_features import (
    ProbeFeature,
    build_token_backbone,
    frozen_feature,
    several_features,
)
from bam_mm.models.video_input import input_size
from bam_mm.optim.layer_decay import EMBEDDINGS
from bam_mm.registry import MODELS
from bam_mm.suite.fitting_images import (
    FAILURES,
    accepting,
    describe_inputs,
    in_evaluation,
    task_image,
)
from bam_mm.variables.entries import kind_of

VIDEO_STRIDE = 16
"""Largest stride of a map for label propagation, in pixels: that of a ViT's patches."""

VIDEO_FRAME = (480, 854)
"""Size (H, W) of DAVIS' frames, on which a backbone is tried."""

NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
"""Modules to which mmengine applies ``norm_decay_mult``."""

TOKENS = (*EMBEDDINGS, "class_token", "pos_embedding", "relative_position_bias_table")
"""Names of parameters of several dimensions without weight decay, in all libraries."""


def frozen_features(config: Config, before: Mapping[str, Any]) -> list[str]:
    """Fit a backbone into a task on frozen features.

    Args:
        config: Config of the task with the backbone of the model, changed in place.
        before: ``model`` of the config before the backbone was exchanged.

    Returns:
        Notes for the record of the run.

    Raises:
        InputError: If the backbone yields no vector of an image.
    """
    model = config.model
    blocks = model.get("blocks", 1)
    return _probed(config, lambda c: build_token_backbone(c, blocks))[1]


def frozen_classifier(config: Config, before: Mapping[str, Any]) -> list[str]:
    """Fit a backbone into a linear probe; arguments and result as in :func:`frozen_features`."""
    model = config.model
    blocks = model.get("blocks", 1)
    width, notes = _probed(config, lambda c: build_token_backbone(c, blocks))
    model.head.in_channels = width
    if model.get("neck"):
        model.neck.input_features = width
    return notes


def many_probes(config: Config, before: Mapping[str, Any]) -> list[str]:
    """Fit a backbone into many linear probes; arguments and result as in :func:`frozen_features`.

    Without [CLS], the only feature is ``mean``; [CLS] tokens are those of the blocks that there
    are.
    """
    model, own = config.model, dict(config.model.backbone)
    adapter = adapter_of(build_token_backbone(own, 1))
    features = [ProbeFeature.of(name) for name in model.features]
    if adapter.cls_index is None:
        features = [ProbeFeature("mean")]
    most = adapter.token_blocks
    features = [replace(f, blocks=min(f.blocks, most)) if f.blocks > 1 else f for f in features]
    model.features = list(dict.fromkeys(map(str, features)))
    features = [ProbeFeature.of(name) for name in model.features]
    blocks = max(feature.blocks for feature in features)
    backbone, found = accepting(
        config,
        lambda c: build_token_backbone(c, blocks),
        lambda b, x: several_features(b, x, features),
    )
    _check_vector(found[0])
    model.in_channels = found[0].shape[1] // features[0].parts
    return describe_inputs(config, own, adapter_of(backbone))


def classifier(config: Config, before: Mapping[str, Any]) -> list[str]:
    """Fit a backbone into fine-tuning; arguments and result as in :func:`frozen_features`.

    The classifier gets what the backbone returns: a vector as it is, the mean of a map, or what
    timm pools of tokens ([CLS] or the mean patch).
    """
    model, own = config.model, dict(config.model.backbone)
    backbone, whole = accepting(config, MODELS.build, lambda b, x: b(x))
    adapter = adapter_of(backbone)
    output = whole[-1] if isinstance(whole, (tuple, list)) and len(whole) else whole
    if isinstance(output, tuple) and adapter.prefix_tokens:
        # mmpretrain's distilled DeiT: [CLS] and the distillation token, of which a head takes one.
        model.backbone.out_type = "raw"
        backbone, whole = accepting(config, MODELS.build, lambda b, x: b(x))
        adapter, output = adapter_of(backbone), whole[-1]
    if not isinstance(output, Tensor) or output.ndim not in (2, 3, 4):
        raise adapter.misfit(output, "a vector, tokens or a map")
    layout = adapter.layout(output)
    width = output.shape[layout.index("C")]
    # mmpretrain's heads take the last of several outputs, and so the last image of a bare tensor.
    several = isinstance(whole, (tuple, list))
    if layout == "NC" and several:
        model.pop("neck", None)
    elif layout == "NCHW" and several:
        model.neck = ConfigDict(type="mmpretrain.GlobalAveragePooling")
    else:
        with torch.no_grad():
            adapter.final(task_image(config))  # Checks the stated layout.
        model.neck = ConfigDict(type="bam_mm.PoolFeatures", layout=layout, width=width)
        if layout == "NLC" and adapter.prefix_tokens:
            takes_token = getattr(adapter, "own_pool", "token") == "token"
            token = adapter.cls_index if takes_token else None
            model.neck.update(prefix=adapter.prefix_tokens, token=token)
    model.head.in_channels = width
    rate = before["backbone"].get("drop_path_rate")
    return [*describe_inputs(config, own, adapter, rate), *_weight_decay(config, backbone)]


def label_propagation(config: Config, before: Mapping[str, Any]) -> list[str]:
    """Fit a backbone into label propagation; arguments and result as in :func:`frozen_features`.

    The stage of the config stays if its stride is at most :data:`VIDEO_STRIDE`. The size of the
    frames becomes a multiple of the stride.
    """
    model = config.model
    backbone = in_evaluation(build_map_backbone(model.backbone))
    adapter = adapter_of(backbone)
    if adapter.sizes.fixed and not adapter.sizes.any_size:
        height, width = adapter.sizes.fixed
        raise InputError(
            f"{adapter.name} takes images of {width}x{height} pixels only, and frames of videos "
            "are larger; choose a network with rotary or resizable positions"
        )
    notes = []
    stage = adapter.stages[_video_stage(adapter, model.get("stage"))]
    if model.get("stage") is not None:
        model.stage = stage.index
    if model.get("stride") is not None:
        lay_patches_closer(backbone, model.stride)
    else:
        notes += _whole_patches(model, stage.stride)
    size = input_size(VIDEO_FRAME, model.get("short_side", 480), model.get("divisor", 64))
    _, output = accepting(
        config,
        lambda c: _overlapping(build_map_backbone(c), model.get("stride")),
        lambda b, x: _propagated(b, x, model.get("stage")),
        size=size,
    )
    cell = size[0] // output.shape[2]
    return [
        *notes,
        f"video: stage {stage.index} ({stage.name} of {adapter.name}), one vector for "
        f"{cell}x{cell} pixels of the input",
    ]


def frozen_maps(config: Config, before: Mapping[str, Any]) -> list[str]:
    """Fit a backbone into dense kNN; arguments and result as in :func:`frozen_features`.

    The stage of the config stays if the backbone has it; otherwise, the last one is taken. The
    images get the largest size up to that of the config which consists of whole patches.
    """
    model = config.model
    adapter = adapter_of(in_evaluation(build_map_backbone(model.backbone)))
    wanted = model.get("stage")
    last = len(adapter.stages) - 1
    stage = adapter.stages[adapter.default_stage() if wanted is None else min(wanted, last)]
    if wanted is not None:
        model.stage = stage.index
    size, notes = (VIDEO_FRAME, [])
    fixed = adapter.sizes.fixed if not adapter.sizes.any_size else None
    whole = math.lcm(adapter.sizes.multiple, stage.stride)
    for dataset in test_pipelines(config):
        for step in dataset["pipeline"]:
            if kind_of(step) != "Resize":
                continue
            width, height = (max(1, side // whole) * whole for side in step["scale"])
            size = fixed or (height, width)
            if tuple(step["scale"]) != size[::-1]:
                notes = [f"images are resized to {size[1]}x{size[0]} pixels, whole patches"]
            step["scale"] = size[::-1]
    _, output = accepting(
        config,
        build_map_backbone,
        lambda b, x: _propagated(b, x, model.get("stage")),
        size=size,
        several=False,
    )
    cell = size[0] // output.shape[2]
    return [
        *notes,
        f"dense kNN: stage {stage.index} ({stage.name} of {adapter.name}), one vector for "
        f"{cell}x{cell} pixels of the input",
    ]


def is_transformer(backbone: nn.Module) -> bool:
    """Return whether a backbone has prefix tokens, or blocks of one width and stride.

    Args:
        backbone: Built backbone of any library.
    """
    adapter = adapter_of(backbone)
    try:
        return bool(adapter.prefix_tokens) or adapter.isotropic
    except InputError:  # It returns no maps.
        return False


def _probed(config: Config, build: Callable[[Mapping], nn.Module]) -> tuple[int, list[str]]:
    """Choose feature and blocks that the backbone has, and return the width of the feature."""
    model, own = config.model, dict(config.model.backbone)
    adapter = adapter_of(build(own))
    feature = model.get("feature", "cls")
    if feature.startswith("cls") and not adapter.trains_cls:
        model.feature = feature = "mean"
        if "blocks" in model:
            model.blocks = 1
    elif feature != "own" and adapter.prefix_tokens and "blocks" in model:
        model.blocks = min(model.blocks, adapter.token_blocks)
    blocks = model.get("blocks", 1)
    backbone, found = accepting(config, build, lambda b, x: frozen_feature(b, x, feature, blocks))
    _check_vector(found)
    return found.shape[1], describe_inputs(config, own, adapter_of(backbone))


def _check_vector(found: Tensor) -> None:
    if found.ndim != 2:
        raise InputError(
            f"its feature has shape {tuple(found.shape)} instead of one vector per image"
        )


def _video_stage(adapter: BackboneAdapter, wanted: int | None) -> int:
    """Return the index of the stage: the wanted one, or the last of stride 16 or less."""
    strides = adapter.strides
    if wanted is None:
        return adapter.default_stage()
    if adapter.isotropic:
        adapter.chosen([wanted])
        return wanted
    if wanted < len(strides) and strides[wanted] <= VIDEO_STRIDE:
        return wanted
    fine = [index for index, stride in enumerate(strides) if stride <= VIDEO_STRIDE]
    return fine[-1] if fine else 0


def _whole_patches(model: ConfigDict, stride: int) -> list[str]:
    """Make the size of the frames a multiple of the stride, as near as possible."""
    side, divisor = model.get("short_side", 480), model.get("divisor", 64)
    if not (side % stride or divisor % stride):
        return []
    model.short_side = max(1, round(side / stride)) * stride
    model.divisor = max(1, divisor // stride) * stride
    return [f"video: frames are resized to whole patches of {stride} pixels"]


def _overlapping(backbone: nn.Module, stride: int | None) -> nn.Module:
    if stride is not None:
        lay_patches_closer(backbone, stride)
    return backbone


def _propagated(backbone: nn.Module, image: Tensor, stage: int | None) -> Tensor:
    """Compute the map of a frame, on the meta device if the backbone can: only the shape counts."""
    try:
        return feature_map(deepcopy(backbone).to("meta"), image.to("meta"), stage)
    except (*FAILURES, NotImplementedError):
        return feature_map(backbone, image, stage)


def _weight_decay(config: Config, backbone: nn.Module) -> list[str]:
    """Exempt tokens, embeddings and one-dimensional parameters of any library from weight decay."""
    groups = (config.get("optim_wrapper") or {}).get("paramwise_cfg") or {}
    keys = groups.get("custom_keys")
    if not keys or groups.get("norm_decay_mult") != 0.0:
        return []
    exempt = set()
    for owner, module in backbone.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if name in TOKENS:
                exempt.add(f".{name}")
            elif parameter.ndim <= 1 and name != "bias" and not isinstance(module, NORMS):
                # A layer scale of mmpretrain is called weight.
                exempt.add(
                    f".{owner.rpartition('.')[2]}.weight" if name == "weight" else f".{name}"
                )
    new = sorted(name for name in exempt if not any(key in name for key in keys))
    for key in new:
        keys[key] = dict(decay_mult=0.0)
    return [f"no weight decay of {', '.join(new)}, either"] if new else []
