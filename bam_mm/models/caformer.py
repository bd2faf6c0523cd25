"""CAFormer as BAM's authors used it."""

from __future__ import annotations

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmpretrain.models import TIMMBackbone

from bam_mm.registry import MODELS

STAGES = 4


@MODELS.register_module()
class CAFormer(TIMMBackbone):
    """timm's CAFormer with an ordinary activation and without residual scales.

    The released code of BAM replaces StarReLU by GELU, in the convolutional token mixers too, and
    leaves the learnable scales of the residual branches out. timm takes both as arguments, but the
    activation as a class, which a config file cannot hold; hence this adapter.

    The output is the last map (N, C, H / 32, W / 32) after timm's LayerNorm over channels; the
    projector averages it over space.

    Args:
        model_name: A CAFormer or ConvFormer of timm.
        act_cfg: The activation, by its name in mmengine's registry.
        residual_scales: Whether the last two stages scale their residual branches, as the
            supervised CAFormer does.
        **kwargs: For mmpretrain's ``TIMMBackbone`` and timm, as ``drop_path_rate``.
    """

    def __init__(
        self,
        model_name: str = "caformer_m36",
        act_cfg: dict | None = None,
        residual_scales: bool = False,
        **kwargs,
    ) -> None:
        activation = MMENGINE_MODELS.get((act_cfg or dict(type="GELU"))["type"])
        if not residual_scales:
            # A plain None would be dropped on timm's way to the model.
            kwargs["res_scale_init_values"] = [None] * STAGES
        super().__init__(model_name, mlp_act=activation, act1_layer=activation, **kwargs)
