"""CAFormer in the variant that the authors of BAM used."""

from __future__ import annotations

from mmengine.registry import MODELS as MMENGINE_MODELS
from mmpretrain.models import TIMMBackbone

from bam_mm.registry import MODELS

STAGES = 4


@MODELS.register_module()
class CAFormer(TIMMBackbone):
    """timm's CAFormer with another activation and without residual scales.

    The released code of BAM replaces StarReLU by GELU, also in the convolutional token mixers, and
    removes the learnable scales of the residual branches. timm has arguments for both, but expects
    the activation as a class, which a config file cannot contain. This adapter builds it.

    The output is the last map (N, C, H / 32, W / 32) after timm's LayerNorm over channels; the
    projector averages it over space.

    Args:
        model_name: Name of a CAFormer or ConvFormer in timm.
        act_cfg: Config of the activation, with the ``type`` it has in mmengine's registry; None is
            GELU.
        residual_scales: Whether the last two stages scale their residual branches, as in the
            supervised CAFormer.
        **kwargs: Arguments of mmpretrain's ``TIMMBackbone`` and of the timm model, such as
            ``drop_path_rate``.
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
            # timm would drop a plain None before it reaches the model.
            kwargs["res_scale_init_values"] = [None] * STAGES
        super().__init__(model_name, mlp_act=activation, act1_layer=activation, **kwargs)
