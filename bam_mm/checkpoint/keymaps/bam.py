"""BAM: this package's checkpoints, and those of the authors' released code.

This package: ``backbone.*`` and ``teacher.backbone.*``. The released code saves
``{'model': ..., 'args': Namespace, ...}`` with ``student.module.backbone.*`` and
``teacher.backbone.*`` (``teacher.module.backbone.*`` where there is BatchNorm), without a teacher
``module.backbone.*``, and ``proj_head.*`` beside each backbone. Its ViT and CAFormer have timm's
names; its CAFormer has neither residual scales nor trained activations, so it fits no ready-made
model of timm's.
"""

from bam_mm.checkpoint.keymaps.layout import Layout

_TEACHER = ("teacher.backbone.", "teacher.encoder.", "teacher.")
_STUDENT = ("student.backbone.", "student.encoder.", "student.", "backbone.", "encoder.", "")
_HEADS = (r"head\.(?!norm\.)", r"fc\.", r"proj_head\.", r"pred_head\.")

BAM_RELEASED = Layout(
    name="BAM (released code)",
    marks=(r"((student|teacher)\.)?(proj_head|pred_head)\.",),
    teacher=(*_TEACHER, *_STUDENT),
    student=_STUDENT,
    aside=_HEADS,
)

STUDENT_TEACHER = Layout(
    name="a student and a teacher",
    marks=(r"student\.",),
    teacher=(*_TEACHER, *_STUDENT),
    student=_STUDENT,
    aside=_HEADS,
)
"""Of whatever codebase."""

BAM_MM = Layout(
    name="BAM",
    marks=(r"teacher\.",),
    teacher=(*_TEACHER, "backbone.", ""),
    student=("backbone.", ""),
    aside=_HEADS,
)
