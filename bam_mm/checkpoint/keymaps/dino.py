"""DINO: ``{'student': ..., 'teacher': ...}``, each ``module.backbone.*`` and ``module.head.*``.

Its files of one backbone have bare keys, as timm's.
"""

from bam_mm.checkpoint.keymaps.layout import Layout

DINO = Layout(
    name="DINO",
    marks=(r"(student|teacher)\.head\.",),
    teacher=("teacher.backbone.", "student.backbone."),
    student=("student.backbone.",),
    aside=(r"head\.", r"fc\."),
)
