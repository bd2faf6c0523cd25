"""A CAFormer with a few thousand parameters, registered in timm."""

from timm.models import register_model
from timm.models.metaformer import (
    Attention,
    LayerNorm2dNoBias,
    LayerNormNoBias,
    SepConv,
    _create_metaformer,
)

__all__ = []

BLOCKS, WIDTH = 5, 64


@register_model
def caformer_of_tests(pretrained=False, **kwargs):
    """The same as timm's models except for depths and widths."""
    return _create_metaformer(
        "caformer_s18",
        pretrained=pretrained,
        depths=[1, 1, 2, 1],
        dims=[8, 16, 32, WIDTH],
        token_mixers=[SepConv, SepConv, Attention, Attention],
        norm_layers=[LayerNorm2dNoBias] * 2 + [LayerNormNoBias] * 2,
        **kwargs,
    )


SMALL = dict(type="bam_mm.CAFormer", model_name="caformer_of_tests")
