_base_ = "./default_runtime.py"

default_scope = "mmdet"
default_hooks = dict(
    visualization=dict(_delete_=True, type="bam_mm.ShowPredictionsHook"),
    check_data=dict(type="bam_mm.CheckDenseDataHook"),
)
# mmdet's inferencer draws with it.
visualizer = dict(type="mmdet.DetLocalVisualizer")
# Images and numbers of regions vary, and cuDNN would search for an algorithm at each new size.
env_cfg = dict(cudnn_benchmark=False)
