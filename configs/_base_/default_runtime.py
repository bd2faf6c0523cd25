# Settings that all runs of this repository share.
custom_imports = dict(imports=["bam_mm"], allow_failed_imports=False)
default_scope = "mmpretrain"

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="bam_mm.WholeCheckpointHook", interval=1, max_keep_ckpts=3),
    # Stops where a variable that a config sets anew differs from the entries that its base filled.
    check_config=dict(type="bam_mm.CheckConfigHook"),
    # Stops at the first loss that is NaN or infinite, and before such weights are saved.
    check_finite=dict(type="bam_mm.CheckFiniteHook"),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    # Averages BatchNorm statistics over the processes after each epoch and before validation.
    sync_buffers=dict(type="bam_mm.SyncStatisticsHook"),
    random_state=dict(type="bam_mm.RandomStateHook"),
    # Warns where another tool tests a checkpoint with another preprocessing than its training's.
    check_preprocessing=dict(type="bam_mm.CheckPreprocessingHook"),
    # mmpretrain's tools/test.py --show-dir switches it on.
    visualization=dict(type="mmpretrain.VisualizationHook", enable=False),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
# The libraries' browse_dataset need the name.
visualizer = dict(
    type="mmpretrain.UniversalVisualizer",
    name="visualizer",
    vis_backends=[dict(type="mmengine.LocalVisBackend")],
)
log_level = "INFO"
load_from = None
resume = False
# Mean, standard deviation, size and crop of the model itself (docs/preprocessing.md).
preprocessing = dict(
    normalisation="auto",
    geometry="auto",
    # Your own values, for pixels in [0, 255] and sizes in pixels.
    mean=None,
    std=None,
    channels=None,
    size=None,
    crop_fraction=None,
    interpolation=None,
    squash=None,
)
randomness = dict(seed=0, deterministic=False)
