"""Heat maps: the places in an image that a backbone attends to."""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.models import VisionTransformer
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.patch_features import feature_map
from bam_mm.models.whole_images import forward_whole
from bam_mm.precision import exact_products


@torch.no_grad()
def saliency(backbone: nn.Module, images: Tensor) -> Tensor:
    """Compute the heat maps that ContrastiveCrop uses (Peng et al., CVPR 2022; BAM, section 4.1).

    For a vision transformer of mmpretrain or timm, this is the attention of the class token to the
    patches in the last block, summed over heads. For any other backbone, it is the last feature
    map: summed over channels where it is never negative (after the ReLU of a ResNet), as in the
    code of Peng et al., and otherwise its L2 norm over channels. Where positive and negative
    channels cancel, a sum says little about objects (CAFormer, ConvNeXt, EfficientNet).

    Args:
        backbone: Backbone with the interface of mmpretrain's; its mode does not change.
        images: (N, 3, H, W) normalised images.

    Returns:
        (N, h, w) heat maps, where h x w is the grid of patches or the size of the last map.

    Raises:
        InputError: If a transformer has no class token, or another backbone returns no map.
    """
    if is_transformer(backbone):
        return attention_maps(backbone, images).sum(dim=1)
    # After a norm over channels, the L2 norm over channels would be the same everywhere.
    maps = feature_map(backbone, images, normalised=False)
    # For each image, so that the map does not depend on the other images of the batch.
    signed = (maps < 0).flatten(1).any(dim=1)[:, None, None]
    return torch.where(signed, torch.linalg.vector_norm(maps, dim=1), maps.sum(dim=1))


@torch.no_grad()
def attention_maps(backbone: nn.Module, images: Tensor) -> Tensor:
    """Compute the class token's attention to the patches in a transformer's last block.

    Args:
        backbone: Vision transformer of mmpretrain or timm; its mode does not change.
        images: (N, 3, H, W) normalised images.

    Returns:
        (N, heads, h, w) attention of each head, where h x w is the grid of patches. A map sums to
        less than 1, because the attention to tokens other than patches is left out.

    Raises:
        InputError: If the transformer has no class token or no joint qkv projection.
    """
    inner: Any = getattr(backbone, "timm_model", backbone)
    if isinstance(inner, VisionTransformer):
        _check_class_token(inner, inner.with_cls_token)
        return _class_attention(inner, inner.layers[-1], images, inner.num_extra_tokens)
    _check_class_token(inner, inner.has_class_token)
    return _class_attention(inner, inner.blocks[-1], images, inner.num_prefix_tokens)


def is_transformer(backbone: nn.Module) -> bool:
    """Return whether the backbone is a vision transformer that :func:`attention_maps` supports."""
    inner = getattr(backbone, "timm_model", backbone)
    return isinstance(inner, VisionTransformer) or _is_timm_transformer(inner)


def class_attention(attention: nn.Module, tokens: Tensor) -> Tensor:
    """Compute the attention of the first token to all tokens, and of no other token.

    Args:
        attention: mmpretrain's ``MultiheadAttention`` or timm's ``Attention``.
        tokens: (N, L, C) input of the attention.

    Returns:
        (N, heads, L) attention, at least in float32; each row sums to 1.
    """
    layer: Any = attention
    qkv = layer.qkv(tokens).unflatten(-1, (3, layer.num_heads, -1))
    query, keys = qkv[:, 0, 0], qkv[:, :, 1]
    if hasattr(layer, "q_norm"):  # An option of timm; the identity if it is off.
        query, keys = layer.q_norm(query), layer.k_norm(keys)
    exact = torch.promote_types(query.dtype, torch.float32)
    with exact_products(query.device):  # Under autocast, a softmax of rounded products.
        similar = torch.einsum("nhd,nlhd->nhl", query.to(exact), keys.to(exact))
    return (similar * query.shape[-1] ** -0.5).softmax(dim=-1)


def _class_attention(inner: Any, block: Any, images: Tensor, prefix: int) -> Tensor:
    """Run a transformer and return the (N, heads, h, w) attention of its last block."""
    if not hasattr(getattr(block, "attn", None), "qkv"):
        raise InputError(
            f"{type(inner).__name__}: the last block ({type(block).__name__}) has no attention "
            "with a joint qkv projection, so there is no heat map; switch ContrastiveCrop off with "
            "default_hooks.boxes.start=None"
        )
    attention, grid = [], []
    # Hooks that return None do not change inputs and outputs.
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
        # forward_features of timm skips the head, which is not needed.
        if hasattr(inner, "forward_features"):
            inner.forward_features(images)
        else:
            forward_whole(inner, images)
    finally:
        for handle in handles:
            handle.remove()
    return attention[0][:, :, prefix:].unflatten(2, tuple(grid[0]))


def _is_timm_transformer(inner: nn.Module) -> bool:
    # Compare names, so that timm is imported only where it is used.
    kind = ("timm.models.vision_transformer", "VisionTransformer")
    return any((base.__module__, base.__name__) == kind for base in type(inner).__mro__)


def _check_class_token(inner: nn.Module, exists: bool) -> None:
    if not exists:
        raise InputError(
            f"{type(inner).__name__} without a class token has no attention to show: build the "
            "backbone with its class token, or switch ContrastiveCrop off with "
            "default_hooks.boxes.start=None"
        )
