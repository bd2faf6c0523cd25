# The paper's variant without a teacher: BatchNorm after each layer of the projector. custom_hooks
# omits the TeacherUpdateHook.
_base_ = "./bam_vit-small-p16_16xb256-amp-coslr-150e_in1k.py"

model = dict(use_teacher=False, neck=dict(norm=True))
custom_hooks = _base_.custom_hooks[1:]
default_hooks = dict(boxes=dict(branch="student"))
test_cfg = dict(branch="student")
sync_bn = "torch"
