"""MAE: the encoder has timm's names and no prefix, the decoder lies beside it."""

from bam_mm.checkpoint.keymaps.layout import Layout

MAE = Layout(
    name="MAE",
    marks=(r"decoder_(embed|blocks)\.",),
    teacher=("",),
    student=("",),
    aside=(r"mask_token$", r"decoder_", r"head\."),
)
