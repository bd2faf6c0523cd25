"""Feature maps of frozen backbones, whichever library they come from."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.registry import MODELS


def build_map_backbone(config: Mapping, stage: int | None = None) -> nn.Module:
    """Build a backbone so that its last output is a map.

    A transformer of mmpretrain is asked for its patch tokens (``out_type='featmap'``: the last
    block after the LayerNorm, without the class token) whatever the config says.

    Args:
        config: Of the backbone.
        stage: Which output: for a ResNet the stage from 0 to 3, for a transformer of mmpretrain the
            block. None leaves what the config says, usually the last. timm's are chosen in
            ``feature_map``.

    Returns:
        The backbone.
    """
    config = dict(config)
    kind = config["type"]
    if isinstance(kind, str):
        # A bare name is looked up in the scope of the config, as building does.
        with MODELS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    if "featmap" in getattr(kind, "OUT_TYPES", ()):
        config["out_type"] = "featmap"
    if stage is not None and not is_timm(kind):
        config["out_indices"] = [stage]
    return MODELS.build(config)


def feature_map(backbone: nn.Module, images: Tensor, stage: int | None = None) -> Tensor:
    """The last output of a backbone as a map.

    Args:
        backbone: As ``build_map_backbone`` gives it, or any that gives a map.
        images: (N, 3, H, W), normalised.
        stage: For a timm backbone, which of its feature maps, counted from 0; None takes the last.
            That of a transformer comes after its norm, without its prefix tokens.

    Returns:
        (N, D, h, w).

    Raises:
        InputError: If the backbone gives no map.
    """
    if is_timm(type(backbone)) and hasattr(backbone.timm_model, "forward_intermediates"):
        output = backbone.timm_model.forward_intermediates(
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
            f"{type(backbone).__name__} gives {shape} where a map (N, D, h, w) is needed: choose "
            "its out_type='featmap', or a stage that exists with model.stage=N"
        )
    return output


def pixels_per_patch(inputs: tuple[int, int], grid: tuple[int, int], backbone: nn.Module) -> int:
    """How many pixels of the input a patch of the map stands for, down and across.

    Args:
        inputs: (H, W) of the images.
        grid: (h, w) of the map.
        backbone: For the message.

    Raises:
        InputError: If it is no whole number, or another one down than across.
    """
    stride = inputs[0] // grid[0]
    if (grid[0] * stride, grid[1] * stride) != tuple(inputs):
        raise InputError(
            f"{type(backbone).__name__} makes {grid[0]}x{grid[1]} patches of a frame of "
            f"{inputs[0]}x{inputs[1]} pixels, which is no whole number of pixels a patch: choose "
            "model.short_side and model.divisor as multiples of its patch size"
        )
    return stride


def is_timm(kind: type) -> bool:
    """Whether a backbone class is mmpretrain's wrapper of timm's models."""
    return any(base.__name__ == "TIMMBackbone" for base in kind.__mro__)
