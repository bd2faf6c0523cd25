"""A backbone alone or in a classifier, with the names of timm or of mmpretrain."""

from bam_mm.checkpoint.keymaps.layout import Layout

PLAIN = Layout(
    name="one model",
    marks=(r"",),
    teacher=("backbone.", "encoder.", ""),
    student=("backbone.", "encoder.", ""),
    aside=(r"head\.(?!norm\.)", r"head_dist\.", r"fc\.", r"mask_token$"),
)
