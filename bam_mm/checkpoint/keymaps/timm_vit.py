"""timm's ``VisionTransformer`` <-> mmpretrain's ``VisionTransformer`` and ``MoCoV3ViT``.

DINO's, MoCo v3's, MAE's and the released BAM's transformers have timm's names as well.
"""

from bam_mm.checkpoint.keymaps.names import KeyMap

TIMM_VIT = KeyMap(
    family="ViT",
    timm_mark=r"blocks\.\d+\.",
    mmpretrain_mark=r"layers\.\d+\.(ln1|ln2|attn|ffn)\.",
    rules=(
        ("cls_token", "cls_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.proj.", "patch_embed.projection."),
        ("norm_pre.", "pre_norm."),
        ("blocks.*.norm1.", "layers.*.ln1."),
        ("blocks.*.attn.qkv.", "layers.*.attn.qkv."),
        ("blocks.*.attn.proj.", "layers.*.attn.proj."),
        ("blocks.*.ls1.gamma", "layers.*.attn.gamma1.weight"),
        ("blocks.*.norm2.", "layers.*.ln2."),
        ("blocks.*.mlp.fc1.", "layers.*.ffn.layers.0.0."),
        ("blocks.*.mlp.fc2.", "layers.*.ffn.layers.1."),
        ("blocks.*.ls2.gamma", "layers.*.ffn.gamma2.weight"),
        ("norm.", "ln1."),
        ("fc_norm.", "ln2."),
    ),
)
