_base_ = "./default_runtime.py"

default_scope = "mmdet"
default_hooks = dict(visualization=dict(type="bam_mm.ShowPredictionsHook"))
# mmdet's inferencer draws with it.
visualizer = dict(type="mmdet.DetLocalVisualizer")
