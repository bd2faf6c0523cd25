# Table 1 without the teacher: the student's own attention is balanced. custom_hooks omits the
# TeacherUpdateHook.
_base_ = "./bam_vit-toy-p8_1xb64-coslr-12e_toy.py"

model = dict(use_teacher=False)
custom_hooks = _base_.custom_hooks[1:]
default_hooks = dict(boxes=dict(branch="student"))
test_cfg = dict(branch="student")
