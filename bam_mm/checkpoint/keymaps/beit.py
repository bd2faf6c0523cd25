"""BEiT: names that timm kept, other than its ViT's, and mmpretrain's ``BEiTViT``."""

from bam_mm.checkpoint.keymaps.layout import Layout
from bam_mm.checkpoint.keymaps.names import KeyMap

_ONLY_HERE = r"\d+\.(gamma_[12]|attn\.(q_bias|v_bias|relative_position))"
_TABLE, _INDEX = "attn.relative_position_bias_table", "attn.relative_position_index"

BEIT_VIT = KeyMap(
    family="BEiT",
    timm_mark=rf"blocks\.{_ONLY_HERE}",
    mmpretrain_mark=rf"layers\.{_ONLY_HERE}",
    rules=(
        ("cls_token", "cls_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.proj.", "patch_embed.projection."),
        # Pretraining shares one bias among the blocks.
        ("rel_pos_bias.", "rel_pos_bias."),
        ("blocks.*.norm1.", "layers.*.ln1."),
        ("blocks.*.attn.q_bias", "layers.*.attn.q_bias"),
        ("blocks.*.attn.v_bias", "layers.*.attn.v_bias"),
        ("blocks.*.attn.qkv.", "layers.*.attn.qkv."),
        (f"blocks.*.{_TABLE}", f"layers.*.{_TABLE}"),
        (f"blocks.*.{_INDEX}", f"layers.*.{_INDEX}"),
        ("blocks.*.attn.proj.", "layers.*.attn.proj."),
        ("blocks.*.gamma_1", "layers.*.gamma_1"),
        ("blocks.*.norm2.", "layers.*.ln2."),
        ("blocks.*.mlp.fc1.", "layers.*.ffn.layers.0.0."),
        ("blocks.*.mlp.fc2.", "layers.*.ffn.layers.1."),
        ("blocks.*.gamma_2", "layers.*.gamma_2"),
        ("norm.", "ln1."),
        ("fc_norm.", "ln2."),
    ),
)

BEIT = Layout(
    name="BEiT",
    marks=(rf"blocks\.{_ONLY_HERE}", r"rel_pos_bias\."),
    teacher=("",),
    student=("",),
    aside=(r"mask_token$", r"lm_head\.", r"head\."),
)
