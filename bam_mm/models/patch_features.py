"""Feature maps of frozen backbones of mmpretrain and timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.registry import MODELS


def build_map_backbone(config: Mapping, stage: int | None = None) -> nn.Module:
    """Build a backbone whose last output is a map.

    A transformer of mmpretrain is always built to output its patch tokens
    (``out_type='featmap'``: the last block after the LayerNorm, without the class token), even if
    the config sets another ``out_type``.

    Args:
        config: Config of the backbone.
        stage: Index of the output: the stage (0 to 3) of a ResNet, or the block of a transformer
            of mmpretrain. None keeps the config's setting, usually the last one. For a timm
            backbone, pass it to :func:`feature_map` instead.

    Returns:
        The backbone.
    """
    config = dict(config)
    kind = config["type"]
    if isinstance(kind, str):
        # A name without a scope is looked up in the current scope, as MODELS.build does.
        with MODELS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    if "featmap" in getattr(kind, "OUT_TYPES", ()):
        config["out_type"] = "featmap"
    if stage is not None and not is_timm(kind):
        config["out_indices"] = [stage]
    return MODELS.build(config)


def feature_map(backbone: nn.Module, images: Tensor, stage: int | None = None) -> Tensor:
    """Compute the last output of a backbone as a map.

    Args:
        backbone: Backbone from :func:`build_map_backbone`, or any other that returns a map.
        images: (N, 3, H, W) normalised images.
        stage: Index of a timm backbone's feature map, counted from 0; None takes the last one. A
            transformer's map is taken after the final norm, without the prefix tokens.

    Returns:
        (N, D, h, w) map.

    Raises:
        InputError: If the backbone returns no map.
    """
    timm_model: Any = backbone.timm_model if is_timm(type(backbone)) else None
    if hasattr(timm_model, "forward_intermediates"):
        output = timm_model.forward_intermediates(
            images,
            indices=1 if stage is None else [stage],
            norm=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
    else:
        output = backbone(images)
    if isinstance(output, (tuple, list)) and len(output):
        output = output[-1]
    if not isinstance(output, Tensor) or output.ndim != 4:
        shape = tuple(output.shape) if isinstance(output, Tensor) else "nothing"
        raise InputError(
            f"{type(backbone).__name__} returns {shape}, but a map (N, D, h, w) is needed: set "
            "its out_type='featmap', or choose an existing stage with model.stage=N"
        )
    return output


def pixels_per_patch(inputs: tuple[int, int], grid: tuple[int, int], backbone: nn.Module) -> int:
    """Return the side of the square of input pixels that one patch of a map covers.

    Args:
        inputs: Size (H, W) of the images.
        grid: Size (h, w) of the map.
        backbone: Backbone to name in the error message.

    Raises:
        InputError: If the number of pixels is not whole, or differs between height and width.
    """
    stride = inputs[0] // grid[0]
    if (grid[0] * stride, grid[1] * stride) != tuple(inputs):
        raise InputError(
            f"{type(backbone).__name__} cuts a frame of {inputs[0]}x{inputs[1]} pixels into "
            f"{grid[0]}x{grid[1]} patches, which is not a whole number of pixels per patch: set "
            "model.short_side and model.divisor to multiples of its patch size"
        )
    return stride


def is_timm(kind: type) -> bool:
    """Return whether a backbone class is mmpretrain's wrapper of timm's models."""
    return any(base.__name__ == "TIMMBackbone" for base in kind.__mro__)
