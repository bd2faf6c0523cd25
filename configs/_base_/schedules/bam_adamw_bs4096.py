# AdamW at the paper's batch of 16 GPUs x 256 = 4096 images (Table 9a). For float16 instead of
# bfloat16, set --cfg-options optim_wrapper.dtype=float16, which adds a dynamic loss scale.
optim_wrapper = dict(
    type="bam_mm.AmpOptimWrapper",
    dtype="bfloat16",
    # Fused: one kernel for all tensors, without waiting for the scaler's check of the gradients.
    optimizer=dict(type="AdamW", lr=3e-3, betas=(0.9, 0.999), weight_decay=0.04, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
    constructor="bam_mm.StudentOptimWrapperConstructor",
    clip_grad=dict(max_norm=0.3),
)
auto_scale_lr = dict(base_batch_size=4096)
