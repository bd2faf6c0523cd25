"""More patches of the same size: a smaller stride, so that a transformer's patches overlap."""

from __future__ import annotations

from typing import Any

from torch import nn

from bam_mm.errors import InputError


def lay_patches_closer(backbone: nn.Module, stride: int) -> None:
    """Make the patches of a transformer overlap (Amir et al., 2022: dense ViT descriptors).

    The weights and the size of the patches stay the same, but there is a patch every ``stride``
    pixels. The image is padded with copies of its edge pixels by half the difference between patch
    size and stride, so that each patch is centred on its cell of ``stride`` x ``stride`` pixels.
    (H, W) pixels become (H / stride, W / stride) patches, and the position embedding, which the
    backbone resizes to that grid, keeps its place in the image.

    Args:
        backbone: Transformer of mmpretrain; changed in place.
        stride: Distance between two patches in pixels, at most the patch size. A stride equal to
            the patch size changes nothing.

    Raises:
        InputError: If the backbone has no patch embedding, or the stride does not fit its patches.
    """
    embed: Any = getattr(backbone, "patch_embed", None)
    projection = getattr(embed, "projection", None)
    if not isinstance(projection, nn.Conv2d) or not hasattr(embed, "adaptive_padding"):
        raise InputError(
            f"model.stride={stride}: {type(backbone).__name__} has no patch embedding like "
            "mmpretrain's transformers, so its patches cannot overlap; remove model.stride"
        )
    size = projection.kernel_size[0]
    if not 1 <= stride <= size or (size - stride) % 2:
        steps = [s for s in range(1, size + 1) if not (size - s) % 2 and not size % s]
        raise InputError(
            f"model.stride={stride} with patches of {size} pixels: a patch must extend equally far "
            f"beyond its cell on every side; choose one of {', '.join(map(str, steps))}"
        )
    margin = (size - stride) // 2
    projection.stride = (stride, stride)
    embed.adaptive_padding = nn.ReplicationPad2d(margin) if margin else None
