"""Layer-wise learning rate decay (BEiT): earlier blocks of the backbone learn more slowly."""

from __future__ import annotations

from typing import Any

from torch import nn

from bam_mm.errors import InputError
from bam_mm.optim.blocks import residual_blocks
from bam_mm.optim.simulated import is_simulated
from bam_mm.optim.summary import BriefOptimWrapperConstructor
from bam_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS

EMBEDDINGS = ("pos_embed", "cls_token", "dist_token", "reg_token", "mask_token")
"""Parameters without weight decay, although they have more than one dimension."""


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(BriefOptimWrapperConstructor):
    """Parameter groups with one learning rate per depth of ``model.backbone``.

    A parameter of depth d (:func:`parameter_depths`) gets ``lr * rate ** (L + 1 - d)``, where L is
    the number of blocks. Necks and heads get the full learning rate, the last block gets ``rate``
    times as much, and everything before the first block ``rate ** (L + 1)`` times as much. Weight
    decay does not apply to biases, other parameters with one dimension, and the embeddings
    (:data:`EMBEDDINGS`). Frozen parameters are left out.

    ``paramwise_cfg`` has two keys: ``layer_decay_rate``, where 1 switches the decay off, and
    ``decay_embeddings``. If the latter is True, the embeddings have weight decay, as in the
    released code of iBOT, BEiT and MAE's mmseg config, because that code compares ``pos_embed``
    with the full name ``backbone.pos_embed``.
    """

    def add_params(self, params: list[dict], module: nn.Module, **kwargs) -> None:
        """Add all trained parameters of a model, one group for each depth and weight decay.

        Args:
            params: Parameter groups; extended in place.
            module: Model to optimize.
            **kwargs: Further arguments of mmengine's recursion; ignored.

        Raises:
            InputError: If the model has no backbone, the blocks of the backbone are unknown, or an
                option is unknown or out of range.
        """
        options = dict(self.paramwise_cfg)
        rate = options.pop("layer_decay_rate", 1.0)
        decay_embeddings = options.pop("decay_embeddings", False)
        if options or not 0 < rate <= 1:
            raise InputError(
                f"optim_wrapper.paramwise_cfg={self.paramwise_cfg}: "
                "LayerDecayOptimWrapperConstructor takes layer_decay_rate, above 0 and at most 1, "
                "and decay_embeddings, and no other key"
            )
        depths = parameter_depths(module) if rate < 1 and not is_simulated(module) else {}
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


def parameter_depths(model: nn.Module) -> dict[str, int]:
    """Return the depth of every parameter of a model.

    If the backbone has L residual blocks, the depth is 0 before the first block (patch or stem
    convolution, position embedding, tokens), i + 1 in block i, and L + 1 after the last block
    (final norm, neck, heads). Parameters between two blocks, such as the downsampling of a stage,
    have the depth of the following block.

    Args:
        model: Model of mmdet, mmseg or mmpretrain with a ``backbone``.

    Returns:
        Depth of each parameter by name.

    Raises:
        InputError: If the model has no backbone, or the blocks of the backbone are unknown.
    """
    backbone: Any = getattr(model, "backbone", None)
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
    # Modules are registered in the order of the forward pass, so go from the last to the first.
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
