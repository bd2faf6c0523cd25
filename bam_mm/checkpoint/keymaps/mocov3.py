"""MoCo v3: ``module.base_encoder.*`` learns by gradient, ``module.momentum_encoder.*`` follows."""

from bam_mm.checkpoint.keymaps.layout import Layout

MOCO_V3 = Layout(
    name="MoCo v3",
    marks=(r"(base|momentum)_encoder\.(?!module\.)",),
    teacher=("momentum_encoder.", "base_encoder."),
    student=("base_encoder.",),
    # The projector takes the classifier's place: fc of a ResNet, head of a ViT.
    aside=(r"head\.", r"fc\."),
)
