"""Feature maps of frozen backbones."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters import adapter_of
from bam_mm.registry import MODELS, registered_class


def build_map_backbone(config: Mapping, stage: int | None = None) -> nn.Module:
    """Build a backbone whose last output is a map.

    A transformer of mmpretrain is always built to output its patch tokens
    (``out_type='featmap'``: the last block after the LayerNorm, without the class token), even if
    the config sets another ``out_type``.

    Args:
        config: Config of the backbone.
        stage: Index of the stage, see :func:`feature_map`.

    Returns:
        The backbone.

    Raises:
        InputError: If the backbone has no such stage.
    """
    config = dict(config)
    kind = registered_class(config["type"])
    if "featmap" in getattr(kind, "OUT_TYPES", ()):
        config["out_type"] = "featmap"
    backbone = MODELS.build(config)
    if stage is not None:
        adapter_of(backbone).chosen([stage])
    return backbone


def feature_map(
    backbone: nn.Module, images: Tensor, stage: int | None = None, *, normalised: bool = True
) -> Tensor:
    """Compute the map of one stage of a backbone.

    Args:
        backbone: Backbone from :func:`build_map_backbone`, or any other that returns a map.
        images: (N, 3, H, W) normalised images.
        stage: Index of the stage, counted from 0 in the same way for every library: the block of a
            transformer, or the stage of a pyramid, where 0 has stride 4, see
            :attr:`~bam_mm.models.adapters.contract.BackboneAdapter.stages`. None takes the one that
            the backbone was built to output, usually the last. Every map is taken without the
            prefix tokens.
        normalised: Whether the last map passes the final norm; otherwise, every map is without its
            output norm.

    Returns:
        (N, D, h, w) map.

    Raises:
        InputError: If the backbone returns no map, or one of another shape than its library states.
    """
    adapter = adapter_of(backbone)
    adapter.announce_padding(images)
    if stage is None and adapter.library == "own":
        # Whose stages are measured by further forward passes.
        x = adapter.final(images)
        if x.ndim != 4:
            raise adapter.misfit(x, "a map (N, C, h, w)")
        return x
    if stage is not None:
        adapter.announce_stage(stage)
    chosen = adapter.default_stage() if stage is None else stage
    return adapter.maps(images, [chosen])[0] if normalised else adapter.unnormalised(images, chosen)


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
