"""Heat maps: where a backbone looks."""

from __future__ import annotations

import torch
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.patch_features import feature_map


@torch.no_grad()
def saliency(backbone: nn.Module, images: Tensor) -> Tensor:
    """Heat map of each image, as ContrastiveCrop takes it (Peng et al., CVPR 2022; BAM, 4.1).

    For a vision transformer (mmpretrain's or timm's) the attention of the class token to the
    patches in the last block, summed over heads; for any other backbone (ResNet, CAFormer) the last
    feature map, summed over channels.

    Args:
        backbone: Of mmpretrain's kind; its mode is left as it is.
        images: (N, 3, H, W), normalised.

    Returns:
        (N, h, w), h x w the grid of patches or the size of the last map.

    Raises:
        InputError: If a transformer has no class token, or another backbone gives no map.
    """
    if is_transformer(backbone):
        return attention_maps(backbone, images).sum(dim=1)
    return feature_map(backbone, images).sum(dim=1)


@torch.no_grad()
def attention_maps(backbone: nn.Module, images: Tensor) -> Tensor:
    """Attention of the class token to the patches in a transformer's last block, head by head.

    Args:
        backbone: A vision transformer of mmpretrain or timm; its mode is left as it is.
        images: (N, 3, H, W), normalised.

    Returns:
        (N, heads, h, w), h x w the grid of patches. The attention to tokens that are no patches is
        left out, so that a map's sum is below 1.

    Raises:
        InputError: If it has no class token, or no joint qkv projection.
    """
    inner = getattr(backbone, "timm_model", backbone)
    if isinstance(inner, VisionTransformer):
        _want_class_token(inner, inner.with_cls_token)
        return _class_attention(inner, inner.layers[-1], images, inner.num_extra_tokens)
    _want_class_token(inner, inner.has_class_token)
    return _class_attention(inner, inner.blocks[-1], images, inner.num_prefix_tokens)


def is_transformer(backbone: nn.Module) -> bool:
    """Whether it is a vision transformer whose attention :func:`attention_maps` can tell."""
    inner = getattr(backbone, "timm_model", backbone)
    return isinstance(inner, VisionTransformer) or _is_timm_transformer(inner)


def class_attention(attention: nn.Module, tokens: Tensor) -> Tensor:
    """Attention of the first token to all, without the attention of any other token.

    Args:
        attention: mmpretrain's ``MultiheadAttention`` or timm's ``Attention``.
        tokens: (N, L, C), its input.

    Returns:
        (N, heads, L), each row with the sum 1, in float32 at least.
    """
    qkv = attention.qkv(tokens).unflatten(-1, (3, attention.num_heads, -1))
    query, keys = qkv[:, 0, 0], qkv[:, :, 1]
    if hasattr(attention, "q_norm"):  # timm's option, an identity where it is off
        query, keys = attention.q_norm(query), attention.k_norm(keys)
    exact = torch.promote_types(query.dtype, torch.float32)
    similar = torch.einsum("nhd,nlhd->nhl", query.to(exact), keys.to(exact))
    return (similar * query.shape[-1] ** -0.5).softmax(dim=-1)


def _class_attention(inner: nn.Module, block: nn.Module, images: Tensor, prefix: int) -> Tensor:
    """Run a transformer; (N, heads, h, w) from what enters the attention of its last block."""
    if not hasattr(getattr(block, "attn", None), "qkv"):
        raise InputError(
            f"{type(inner).__name__}: its last block ({type(block).__name__}) has no attention "
            "with a joint qkv projection, so there is no heat map; switch ContrastiveCrop off with "
            "default_hooks.boxes.start=None"
        )
    attention, grid = [], []
    # Hooks that return nothing leave inputs and outputs as they are.
    handles = [
        block.attn.register_forward_pre_hook(
            lambda module, args: attention.append(class_attention(module, args[0]))
        ),
        inner.patch_embed.register_forward_hook(
            lambda module, args, out: grid.append(
                out[1]
                if isinstance(inner, VisionTransformer)
                else module.dynamic_feat_size(tuple(images.shape[-2:]))
            )
        ),
    ]
    try:
        # A timm model's head comes after the blocks and is not needed.
        getattr(inner, "forward_features", inner)(images)
    finally:
        for handle in handles:
            handle.remove()
    return attention[0][:, :, prefix:].unflatten(2, tuple(grid[0]))


def _is_timm_transformer(inner: nn.Module) -> bool:
    # By name, so that only who uses timm pays for its import.
    kind = ("timm.models.vision_transformer", "VisionTransformer")
    return any((base.__module__, base.__name__) == kind for base in type(inner).__mro__)


def _want_class_token(inner: nn.Module, there: bool) -> None:
    if not there:
        raise InputError(
            f"{type(inner).__name__} without a class token has no attention of it to the patches: "
            "give the backbone its class token, or switch ContrastiveCrop off with "
            "default_hooks.boxes.start=None"
        )
