"""Layer-wise decay of the learning rate (BEiT): early blocks of the backbone change less."""

from __future__ import annotations

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from bam_mm.errors import InputError
from bam_mm.optim.blocks import residual_blocks
from bam_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

EMBEDDINGS = ("pos_embed", "cls_token", "dist_token", "reg_token", "mask_token")
"""Parameters without weight decay although they have more than one dimension."""


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """A learning rate for each depth of ``model.backbone``, of any library that we know blocks of.

    A parameter of depth d (:func:`parameter_depths`) gets ``lr * rate ** (L + 1 - d)``, with L the
    number of blocks: necks and heads the full rate, the last block ``rate`` of it, what comes
    before the first block ``rate ** (L + 1)``. Parameters with one dimension, biases, and the
    embeddings (:data:`EMBEDDINGS`) get no weight decay. Frozen parameters are left out.

    ``paramwise_cfg`` takes ``layer_decay_rate`` (1 switches it off) and ``decay_embeddings``: True
    lets the embeddings decay, as they do in the released code of iBOT, BEiT and MAE's mmseg config,
    where ``pos_embed`` is compared with ``backbone.pos_embed``.
    """

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Add all trained parameters of a model, a group for each depth and weight decay.

        Args:
            params: Groups; extended in place.
            module: The model.
            **kwargs: Ignored; mmengine passes them down its own recursion.

        Raises:
            InputError: If the model has no backbone, its blocks are not known, or an option is
                misspelt or out of range.
        """
        options = dict(self.paramwise_cfg)
        rate = options.pop("layer_decay_rate", 1.0)
        decay_embeddings = options.pop("decay_embeddings", False)
        if options or not 0 < rate <= 1:
            raise InputError(
                f"optim_wrapper.paramwise_cfg={self.paramwise_cfg}: "
                "LayerDecayOptimWrapperConstructor takes layer_decay_rate, above 0 and at most 1, "
                "and decay_embeddings"
            )
        depths = parameter_depths(module) if rate < 1 else {}
        top = max(depths.values(), default=0)
        groups: dict[tuple[int, bool], dict] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            depth = depths.get(name, top)
            decayed = _is_decayed(name, parameter, decay_embeddings)
            group = groups.setdefault(
                (depth, decayed),
                dict(
                    params=[],
                    lr=self.base_lr * rate ** (top - depth),
                    weight_decay=(self.base_wd or 0.0) if decayed else 0.0,
                ),
            )
            group["params"].append(parameter)
        params.extend(group for _, group in sorted(groups.items()))
        print_log(
            f"layer decay {rate}: {len(params)} groups, learning rates "
            f"{min(g['lr'] for g in params):.3g} to {max(g['lr'] for g in params):.3g}",
            logger="current",
        )


def parameter_depths(model: nn.Module) -> dict[str, int]:
    """Depth of every parameter of a model.

    With L residual blocks in the backbone: 0 for what comes before the first block (patch or stem
    convolution, position embedding, tokens), i + 1 for block i, L + 1 for what comes after the last
    one (final norm, neck, heads). What lies between two blocks, such as a stage's downsampling, has
    the depth of the block that it leads to.

    Args:
        model: Of mmdet, mmseg or mmpretrain, with a ``backbone``.

    Returns:
        Depth by name.

    Raises:
        InputError: If there is no backbone, or its blocks are not known.
    """
    backbone = getattr(model, "backbone", None)
    blocks = [] if backbone is None else list(residual_blocks(backbone))
    if not blocks:
        raise InputError(
            f"layer_decay_rate below 1: the blocks of {type(backbone).__name__} are not known, so "
            "its parameters have no depth; set optim_wrapper.paramwise_cfg.layer_decay_rate=1, or "
            "use a VisionTransformer, a ResNet or a timm backbone with blocks"
        )
    of_block = {id(p): i + 1 for i, block in enumerate(blocks) for p in block.parameters()}
    top = len(blocks) + 1
    depths, following = {}, top
    # From the end to the beginning: modules are registered in the order of the forward pass.
    for name, parameter in reversed(list(backbone.named_parameters())):
        depth = of_block.get(id(parameter))
        if depth is not None:
            following = depth
        depths[f"backbone.{name}"] = following if depth is None else depth
    first = next(iter(blocks[0].parameters()))
    for name, parameter in backbone.named_parameters():
        if parameter is first:
            break
        depths[f"backbone.{name}"] = 0
    return {name: depths.get(name, top) for name, _ in model.named_parameters()}


def _is_decayed(name: str, parameter: nn.Parameter, decay_embeddings: bool) -> bool:
    if parameter.ndim <= 1 or name.endswith(".bias"):
        return False
    return decay_embeddings or name.rpartition(".")[2] not in EMBEDDINGS
