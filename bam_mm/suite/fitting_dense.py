"""Put a backbone into the config of a detector or segmentor: its maps, and what follows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import torch
from mmengine.config import Config, ConfigDict
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bam_mm.errors import InputError
from bam_mm.models.adapters import adapter_of
from bam_mm.models.caformer import CAFormer
from bam_mm.models.dense_parts import ADDED, DenseMixin
from bam_mm.models.dense_stages import is_column, same_depths
from bam_mm.models.dense_vit import DenseViT
from bam_mm.models.patch_features import is_timm
from bam_mm.models.torchvision_backbone import TorchvisionBackbone
from bam_mm.optim.blocks import residual_blocks
from bam_mm.registry import MODELS, registered_class
from bam_mm.suite.fitting_heads import Maps, fit_heads, is_segmentor, wanted_widths
from bam_mm.suite.fitting_images import in_evaluation
from bam_mm.variables.entries import kind_of, plain

PLAIN_VITS = ("VisionTransformer", "MoCoV3ViT")
"""mmpretrain classes that implement the same network."""

DROP_PATH = "drop_path_rate"

SIZE = (64, 96)
"""Height and width of the image on which a backbone is tried, in pixels."""


def fit_dense(config: Config, before: Mapping[str, Any]) -> list[str]:
    """Choose the maps of a backbone, and adapt the necks and heads of a detector or segmentor.

    Args:
        config: Config of the task with the model's backbone, changed in place.
        before: The task's model before, as plain data.

    Returns:
        What was chosen for the backbone. Changes of necks and heads are not listed.

    Raises:
        InputError: If the model cannot do the task; the message names the reason.
    """
    model, task = config.model, before["backbone"]
    if plain(model.backbone) == task:
        return []
    notes: list[str] = []
    model.backbone = ConfigDict(_dense(plain(model.backbone), task, model, notes))
    backbone = _built(model, notes)
    maps = _chosen(model, backbone, before, notes) if _is_ours(backbone) else _maps(model, backbone)
    _fit_patches(model, maps, notes)
    if _is_ours(backbone):
        _check_builds(plain(model.backbone))
    stages = model.backbone.get("stages", model.backbone.get("blocks"))
    chosen = "" if stages is None else f" of the stages {list(stages)}"
    notes.append(
        f"backbone: {kind_of(model.backbone)}, maps{chosen} with strides of "
        f"{list(maps.strides)} px and {list(maps.widths)} channels"
    )
    fit_heads(model, maps, notes)
    _fit_depths(config, backbone, notes)
    return notes


def has_batch_norm(backbone: nn.Module) -> bool:
    """Return whether a backbone normalises with BatchNorm."""
    return any(isinstance(module, _BatchNorm) for module in backbone.modules())


def _dense(
    network: dict[str, Any], task: Mapping[str, Any], model: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Return the config of the class that outputs several maps of a network."""
    kind = registered_class(network["type"])
    if kind.__name__ in PLAIN_VITS or issubclass(kind, DenseViT):
        return _vit(network, kind, task, notes)
    if issubclass(kind, DenseMixin) or registered_class(task["type"]) is kind:
        return network
    settings = {k: task[k] for k in ("frozen", "activation_checkpointing") if task.get(k)}
    if task.get("norm_eval"):
        settings["norm_eval"] = True
    if task.get("with_cp"):
        settings["activation_checkpointing"] = True
    if task.get("frozen_stages", -1) >= 0:
        notes.append(
            f"backbone.frozen_stages: {task['frozen_stages']} -> none: only the config's own "
            "class of backbone freezes stages"
        )
    if is_timm(kind):
        dense = "bam_mm.DenseCAFormer" if issubclass(kind, CAFormer) else "bam_mm.DenseTIMM"
        return {**network, "type": dense, **settings}
    if issubclass(kind, TorchvisionBackbone):
        # torchvision's networks have drop path without being asked.
        network.pop(DROP_PATH, None)
        settings[DROP_PATH] = task.get(DROP_PATH) or 0.0
    return dict(type="bam_mm.DenseBackbone", network=network, **settings)


def _vit(
    network: dict[str, Any], kind: Any, task: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Return the config of a ViT whose maps have the relative depths of the task's."""
    task_kind = registered_class(task["type"])
    depth = _depth(network, kind)
    if issubclass(task_kind, DenseViT):
        before, blocks = _depth(task, task_kind), task.get("blocks", (3, 5, 7, 11))
    else:
        before, blocks = 12, (3, 5, 7, 11)
        if isinstance(network.get("arch"), str):
            network["arch"] = dict(kind.arch_zoo[network["arch"]])
        network = {**network, "type": "bam_mm.DenseViT", "norm": "none"}
    scaled = _same_depths(blocks, before, depth)
    if scaled != list(blocks):
        notes.append(
            f"backbone.blocks: {list(blocks)} of {before} -> {scaled} of {depth}, at the same "
            "relative depths"
        )
    return {**network, "blocks": scaled}


def _depth(config: Mapping[str, Any], kind: Any) -> int:
    arch = config.get("arch", "base")
    settings = kind.arch_zoo[arch.lower()] if isinstance(arch, str) else arch
    return int(settings["num_layers"])


def _built(model: ConfigDict, notes: list[str]) -> nn.Module:
    """Build the backbone, without drop path if the network has none."""
    try:
        return in_evaluation(MODELS.build(model.backbone))
    except (InputError, TypeError) as error:
        if DROP_PATH not in str(error):
            raise
    owners = (model.backbone, model.backbone.get("network", {}))
    rates = [owner.pop(DROP_PATH) for owner in owners if DROP_PATH in owner]
    notes.append(f"backbone.{DROP_PATH}: {rates[0]} -> none: the network has no drop path")
    return in_evaluation(MODELS.build(model.backbone))


def _check_builds(backbone: Mapping[str, Any]) -> None:
    """Build a backbone with all its settings, without memory for its weights where possible."""
    try:
        with torch.device("meta"):
            MODELS.build(dict(backbone))
    except Exception:  # Also of networks that read a value while they are built.
        MODELS.build(dict(backbone))


def _is_ours(backbone: nn.Module) -> TypeGuard[DenseMixin]:
    return isinstance(backbone, DenseMixin)


def _chosen(
    model: ConfigDict, backbone: DenseMixin, before: Mapping[str, Any], notes: list[str]
) -> Maps:
    """Choose stages and norms of the maps: the task's for a column, the usual for a pyramid."""
    task, column = before["backbone"], is_column(backbone.strides)
    if is_segmentor(model) and backbone.only_size:
        size = (model.get("data_preprocessor") or {}).get("size") or SIZE
        backbone.check_size(torch.empty(1, 3, *size))
    else:
        backbone.check_size(torch.empty(1, 3, *SIZE))
    number = len(wanted_widths(model) or backbone.stages)
    model.backbone.stages = (
        _stages_like(task, backbone) if column else list(backbone.stages)[-number:]
    )
    _set_batch_norm(model, backbone, before, notes)
    norm = task.get("norm", "none") if column else "none" if has_batch_norm(backbone) else ADDED
    if norm != "none" and not backbone.has_final_norm:
        norm = ADDED
    if norm == ADDED:
        why = "the network has no final norm" if column else "as in detectors of Swin and ConvNeXt"
        notes.append(f"backbone.norm: added, a LayerNorm on each map, {why}")
    if norm != "none":
        model.backbone.norm = norm
    chosen = len(model.backbone.stages)
    return Maps(backbone.strides[-chosen:], backbone.widths[-chosen:])


def _stages_like(task: Mapping[str, Any], backbone: DenseMixin) -> list[int]:
    """Return the blocks of a column at the relative depths of the task's ViT."""
    kind = registered_class(task["type"])
    if not issubclass(kind, DenseViT):
        return list(backbone.stages)
    network = getattr(backbone, getattr(backbone, "wraps", ""), backbone)
    depth = len(adapter_of(network).stages)
    blocks = task.get("blocks", (3, 5, 7, 11))
    return _same_depths(blocks, _depth(task, kind), depth)


def _same_depths(blocks: Sequence[int], before: int, depth: int) -> list[int]:
    scaled = same_depths(blocks, before, depth)
    if len(scaled) < len(blocks):
        raise InputError(
            f"it has {depth} blocks, too few for {len(blocks)} maps; choose a deeper network"
        )
    return scaled


def _set_batch_norm(
    model: ConfigDict, backbone: nn.Module, before: Mapping[str, Any], notes: list[str]
) -> None:
    """Synchronise BatchNorm in the backbone if the task synchronises that of its own parts."""
    if not has_batch_norm(backbone):
        model.backbone.pop("norm_eval", None)
        return
    if _mentions(before, "SyncBN"):
        model.backbone.sync_bn = True
        notes.append("backbone.sync_bn: True, as SyncBN in the config of the task")


def _mentions(node: Any, kind: str) -> bool:
    """Return whether a config builds a class, anywhere in it."""
    if isinstance(node, Mapping):
        return kind_of(node) == kind or _mentions([*node.values()], kind)
    return isinstance(node, (list, tuple)) and any(_mentions(value, kind) for value in node)


def _maps(model: Mapping[str, Any], backbone: nn.Module) -> Maps:
    """Compute the maps of a black image, and return their strides and widths."""
    with torch.no_grad():
        outputs = backbone(torch.zeros(1, 3, *SIZE))
    if not isinstance(outputs, (tuple, list)) or any(map_.ndim != 4 for map_ in outputs):
        raise InputError(
            f"{kind_of(model['backbone'])} returns no maps, but {kind_of(model)} needs "
            "several; choose a backbone with stages or blocks"
        )
    strides = [round(SIZE[0] / map_.shape[2]) for map_ in outputs]
    if isinstance(backbone, DenseViT):
        patch: Any = backbone.patch_embed
        strides = [patch.projection.stride[0]] * len(outputs)
    return Maps(strides, [map_.shape[1] for map_ in outputs])


def _fit_patches(model: ConfigDict, maps: Maps, notes: list[str]) -> None:
    """Choose how images whose sides are no multiples of the patch size are changed."""
    patch = maps.strides[0]
    if not maps.column or not 32 % patch:
        return
    fit = "resize" if is_segmentor(model) else "pad"
    model.backbone.fit_input = fit
    word = "padded at the right and bottom" if fit == "pad" else "enlarged bicubically"
    notes.append(f"backbone.fit_input: {fit}, images are {word} to multiples of {patch} px")


def _fit_depths(config: Config, backbone: nn.Module, notes: list[str]) -> None:
    """Switch off what needs to know the blocks of a backbone if they are not known."""
    if next(residual_blocks(backbone), None) is not None:
        return
    settings = (config.get("optim_wrapper") or {}).get("paramwise_cfg") or {}
    rate = settings.get("layer_decay_rate", 1.0)
    if rate < 1:
        settings["layer_decay_rate"] = 1.0
        notes.append(
            f"optim_wrapper.paramwise_cfg.layer_decay_rate: {rate} -> 1.0: the blocks of this "
            "network are not known, so its parameters have no depth"
        )
