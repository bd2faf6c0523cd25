# Intervals are in iterations, as is usual for segmentation.
_base_ = "./default_runtime.py"

default_scope = "mmseg"
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=16000),
    visualization=dict(_delete_=True, type="bam_mm.ShowPredictionsHook"),
    check_data=dict(type="bam_mm.CheckDenseDataHook"),
)
log_processor = dict(by_epoch=False)
# mmseg's inferencer draws with it.
visualizer = dict(type="mmseg.SegLocalVisualizer")
# Test images vary in size, and cuDNN would search for an algorithm at each new one.
env_cfg = dict(cudnn_benchmark=False)
