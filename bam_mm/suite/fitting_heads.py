"""Adapt the necks and heads of a detector or segmentor to the maps of a backbone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

from mmengine.config import ConfigDict

from bam_mm.errors import InputError
from bam_mm.models.dense_stages import FINEST, is_column
from bam_mm.variables.entries import kind_of

PYRAMID = "Feature2Pyramid"

RESCALES = ([4, 2, 1, 0.5], [2, 1, 0.5, 0.25])
"""Factors by which mmseg's ``Feature2Pyramid`` can change the resolution of four maps."""

STRIDES = ("strides", "featmap_strides", "feature_strides")
"""Keys of necks and heads whose values are the strides of the pyramid's levels."""


@dataclass(frozen=True)
class Maps:
    """Maps that a neck or a head gets.

    Attributes:
        strides: Pixels of the image per cell of each map.
        widths: Number of channels of each map.
    """

    strides: Sequence[float]
    widths: Sequence[int]

    @property
    def column(self) -> bool:
        """Whether all maps have the same stride, as those of a plain transformer."""
        return is_column(self.strides)


def fit_heads(model: ConfigDict, maps: Maps, notes: list[str]) -> None:
    """Adapt the necks and heads of a detector or segmentor, in place.

    Args:
        model: Config of the model.
        maps: Maps of its backbone.
        notes: List to which changes are added that a comparison of the configs does not explain.

    Raises:
        InputError: If the necks and heads cannot use several maps.
    """
    if wanted_widths(model) is None:
        raise InputError(
            f"{kind_of(model)} of this task takes no list of maps (neck.in_channels or "
            "decode_head.in_channels); choose a task with an FPN or a head on several maps"
        )
    maps = _fit_pyramid(model, maps, notes)
    takes_maps = [neck for neck in _list(model.get("neck")) if _is_list(neck.get("in_channels"))]
    if takes_maps:
        takes_maps[0].in_channels = list(maps.widths)
    else:
        for head in _heads(model):
            _fit_head(head, maps)
    _fit_strides(model, maps)


def wanted_widths(model: Mapping[str, Any]) -> list[int] | None:
    """Return the channels of the maps that the necks and heads of a model take, None if unknown."""
    for neck in _list(model.get("neck")):
        if neck.get("embed_dim"):
            return [neck["embed_dim"]] * len(neck.get("rescales", RESCALES[0]))
        if _is_list(neck.get("in_channels")):
            return list(neck["in_channels"])
    for head in _heads(model):
        if _is_list(head.get("in_channels")):
            return list(head["in_channels"])
    return None


def is_segmentor(model: Mapping[str, Any]) -> bool:
    """Return whether a model labels pixels."""
    return bool(model.get("decode_head"))


def _fit_pyramid(model: ConfigDict, maps: Maps, notes: list[str]) -> Maps:
    """Add, adapt or remove the neck that makes a pyramid of the maps of a plain transformer."""
    necks = _list(model.get("neck"))
    before = [neck for neck in necks if kind_of(neck) == PYRAMID]
    others = [neck for neck in necks if kind_of(neck) != PYRAMID]
    if not maps.column:
        if before:
            _set_neck(model, others)
            notes.append(f"neck: without {PYRAMID}, the maps of this backbone are a pyramid")
        return maps
    concatenated = [head.get("input_transform") == "resize_concat" for head in _heads(model)]
    if not before and any(concatenated):
        return maps
    if len(maps.widths) != len(RESCALES[0]):
        raise InputError(
            f"a pyramid needs {len(RESCALES[0])} maps, and the backbone has {len(maps.widths)}; "
            "choose a deeper network"
        )
    patch = maps.strides[0]
    rescales = min(RESCALES, key=lambda r: abs(log2(patch / r[0] / FINEST)))
    pyramid = before[0] if before else ConfigDict(type=f"mmseg.{PYRAMID}", norm_cfg=_norm(model))
    pyramid.update(embed_dim=maps.widths[0], rescales=list(rescales))
    _set_neck(model, [pyramid, *others])
    if not before:
        notes.append(f"neck: with {PYRAMID}, the maps of this backbone have one stride")
    strides = [_whole(patch / scale) for scale in rescales]
    if strides != [4, 8, 16, 32]:
        notes.append(f"neck: the levels have strides of {strides} px")
    return Maps(strides, maps.widths)


def _fit_head(head: ConfigDict, maps: Maps) -> None:
    """Set the channels that a head of a segmentor takes from the maps."""
    if _is_list(head.get("in_channels")):
        before = sum(head.in_channels)
        head.in_index = list(range(len(maps.widths)))
        head.in_channels = list(maps.widths)
        if head.get("num_convs") == 0 and head.get("channels") == before:
            head.channels = sum(maps.widths)
        return
    index = head.get("in_index", -1)
    if index >= 0 and not maps.column:
        stride = FINEST * 2**index
        distances = [abs(log2(own / stride)) for own in maps.strides]
        index = head.in_index = distances.index(min(distances))
    head.in_channels = maps.widths[index]


def _fit_strides(model: ConfigDict, maps: Maps) -> None:
    """Set the strides of anchors and RoI poolings if the levels do not have 4, 8, 16 and so on."""
    levels = list(maps.strides)
    if levels == [FINEST * 2**n for n in range(len(levels))]:
        return

    def level(stride: Any) -> Any:
        number = log2(stride / FINEST)
        while len(levels) <= number:
            levels.append(levels[-1] * 2)
        return levels[int(number)] if number >= 0 and number == int(number) else stride

    for node in _nodes({k: v for k, v in model.items() if k not in ("backbone", "neck")}):
        for key in STRIDES:
            if _is_list(node.get(key)) and all(isinstance(s, (int, float)) for s in node[key]):
                node[key] = [level(stride) for stride in node[key]]


def _nodes(node: Any) -> Iterator[Any]:
    if isinstance(node, Mapping):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            yield from _nodes(value)


def _norm(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the BatchNorm of the heads, for a neck that is added."""
    heads = {k: v for k, v in model.items() if k != "backbone"}
    found = [node["norm_cfg"] for node in _nodes(heads) if node.get("norm_cfg")]
    return dict(found[0]) if found else dict(type="SyncBN", requires_grad=True)


def _heads(model: Mapping[str, Any]) -> list[Any]:
    return [head for key in ("decode_head", "auxiliary_head") for head in _list(model.get(key))]


def _set_neck(model: ConfigDict, necks: Sequence[Any]) -> None:
    model.neck = None if not necks else necks[0] if len(necks) == 1 else list(necks)


def _list(node: Any) -> list[Any]:
    return [] if not node else list(node) if isinstance(node, (list, tuple)) else [node]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value
