"""Whether the necks and heads of a detector or segmentor take the maps of its backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.models.dense_parts import DenseMixin
from bam_mm.models.dense_stages import is_column
from bam_mm.variables.entries import kind_of

IN_ORDER = frozenset(
    {
        *("FPN", "PAFPN", "FPN_CARAFE", "FPN_DropBlock", "NASFPN", "NASFCOS_FPN", "HRFPN"),
        *("ChannelMapper", "YOLOXPAFPN", "CSPNeXtPAFPN", "MLANeck", "MultiLevelNeck"),
    }
)
"""Necks of mmdet and mmseg whose ``in_channels`` are the widths of the maps, in order."""


def check_widths(config: Mapping[str, Any], model: nn.Module) -> None:
    """Check the channels and strides that a model expects of its backbone's maps.

    Without this check, torch fails in the first iteration with the shape of a convolution's weight,
    and wrong strides of anchors do not fail at all. Necks that are not known to take the maps in
    order (``YOLOV3Neck`` takes the last one first) are not checked, nor is what follows them.

    Args:
        config: Config of a run.
        model: Its model, maybe wrapped.

    Raises:
        InputError: If they differ; the message names the entry to set and its value.
    """
    backbone = getattr(unwrap_model(model), "backbone", None)
    settings = config.get("model") or {}
    if not isinstance(settings, Mapping):
        return
    _check_number(settings, backbone)
    if not isinstance(backbone, DenseMixin):
        return
    for place, value, wanted, remedy in _differences(settings, backbone):
        raise InputError(
            f"{place}={_plain(value)}: {type(backbone).__name__} ({backbone.name}) returns maps "
            f"with {backbone.widths} channels and strides of {backbone.strides} px; "
            + (remedy or f"set {place}={wanted}")
        )


def _check_number(model: Mapping[str, Any], backbone: Any) -> None:
    """Check that a pyramid of one stride gets a map for each of its factors, where it is known."""
    maps = getattr(backbone, "widths", None) or getattr(backbone, "out_indices", None)
    for place, neck in _parts(model, "neck"):
        if kind_of(neck) != "Feature2Pyramid" or not isinstance(maps, (list, tuple)):
            continue
        rescales = neck.get("rescales", [4, 2, 1, 0.5])
        if len(rescales) != len(maps):
            raise InputError(
                f"{place}.rescales={_plain(rescales)} makes {len(rescales)} maps, but "
                f"{type(backbone).__name__} returns {len(maps)}: choose {len(rescales)} outputs of "
                f"model.backbone, or set a factor in {place}.rescales for each"
            )


def _differences(
    model: Mapping[str, Any], backbone: DenseMixin
) -> Iterator[tuple[str, Any, Any, str]]:
    """Yield the place, value and right value of entries that do not fit, and another remedy."""
    widths, strides = backbone.widths, backbone.strides
    for place, neck in _parts(model, "neck"):
        kind, embed, taken = kind_of(neck), neck.get("embed_dim"), neck.get("in_channels")
        if kind == "ToFloat32":
            continue
        if kind == "Feature2Pyramid" and not is_column(strides):
            yield place, neck.get("type"), "", f"remove {place}, the maps are a pyramid already"
        if kind == "Feature2Pyramid" and {*widths} != {embed}:
            yield f"{place}.embed_dim", embed, widths[0], ""
        if kind in IN_ORDER and isinstance(taken, (list, tuple)):
            if list(taken) != widths:
                yield f"{place}.in_channels", taken, widths, ""
            if not neck.get("start_level"):
                yield from _strides(model, strides)
        return
    for key in ("decode_head", "auxiliary_head"):
        for place, head in _parts(model, key):
            taken, index = head.get("in_channels"), head.get("in_index", -1)
            indices = index if isinstance(index, (list, tuple)) else [index]
            if max(indices) >= len(widths):
                yield f"{place}.in_index", index, len(widths) - 1, ""
            right = [widths[i] for i in indices]
            if taken is not None and taken != right and [taken] != right:
                yield f"{place}.in_channels", taken, right if len(right) > 1 else right[0], ""


def _strides(model: Mapping[str, Any], strides: list[int]) -> Iterator[tuple[str, Any, Any, str]]:
    head = model.get("rpn_head") or {}
    taken = list((head.get("anchor_generator") or {}).get("strides") or ())
    if len(taken) >= len(strides) and taken[: len(strides)] != strides:
        wanted = strides + [strides[-1] * 2 ** (n + 1) for n in range(len(taken) - len(strides))]
        place = "model.rpn_head.anchor_generator.strides"
        remedy = (
            f"choose other model.backbone.stages, or set {place}={wanted} and the featmap_strides "
            "of the RoI extractors likewise"
        )
        yield place, taken, wanted, remedy


def _parts(model: Mapping[str, Any], key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    node = model.get(key)
    if isinstance(node, Mapping):
        yield f"model.{key}", node
    for number, part in enumerate(node if isinstance(node, (list, tuple)) else ()):
        yield f"model.{key}.{number}", part


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else repr(value)
