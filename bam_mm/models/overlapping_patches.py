"""More patches of the same size: a transformer's patches laid closer than side by side."""

from __future__ import annotations

from torch import nn

from bam_mm.errors import InputError


def lay_patches_closer(backbone: nn.Module, stride: int) -> None:
    """Let the patches of a transformer overlap (Amir et al., 2022: dense ViT descriptors).

    The weights stay what they are, and so does what a patch sees; there is one every ``stride``
    pixels. The image's edge is repeated around it by half of what patch and stride differ, so that
    the patch of a cell of ``stride`` x ``stride`` pixels is centred on that cell: (H, W) pixels
    give (H / stride, W / stride) patches, and the position embedding, which the backbone resizes to
    that grid, stands for the same place in the image as before.

    Args:
        backbone: A transformer of mmpretrain; changed in place.
        stride: Pixels from a patch to the next, at most the patch size. The patch size itself
            changes nothing.

    Raises:
        InputError: If the backbone has no patch embedding, or the stride does not suit its patches.
    """
    embed = getattr(backbone, "patch_embed", None)
    projection = getattr(embed, "projection", None)
    if not isinstance(projection, nn.Conv2d) or not hasattr(embed, "adaptive_padding"):
        raise InputError(
            f"model.stride={stride}: {type(backbone).__name__} has no patch embedding of "
            "mmpretrain's transformers to lay closer; leave model.stride out"
        )
    size = projection.kernel_size[0]
    if not 1 <= stride <= size or (size - stride) % 2:
        steps = [s for s in range(1, size + 1) if not (size - s) % 2 and not size % s]
        raise InputError(
            f"model.stride={stride} with patches of {size} pixels: a patch must keep as many "
            f"pixels on either side of its {stride}; choose one of {', '.join(map(str, steps))}"
        )
    margin = (size - stride) // 2
    projection.stride = (stride, stride)
    embed.adaptive_padding = nn.ReplicationPad2d(margin) if margin else None
