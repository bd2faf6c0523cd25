# Table 1 without the teacher: the student's own attention is balanced. custom_hooks omits the
# TeacherUpdateHook.
_base_ = "./bam_vit-small-p16_16xb256-amp-coslr-150e_in1k.py"

model = dict(use_teacher=False)
custom_hooks = _base_.custom_hooks[1:]
default_hooks = dict(boxes=dict(branch="student"))
test_cfg = dict(branch="student")
