# BAM, ViT-B/16, 400 epochs on ImageNet-1k: the authors' released script, line by line. The scripts
# do not set the teacher momentum (.995 to 1) and the drop path (0); these are the defaults of the
# released code. The scripts' number of small crops is not available; the paper's 6 is used instead.
# ContrastiveCrop's boxes are computed every 40 epochs; that the first ones come at epoch 40 is from
# the paper.
_base_ = [
    "../_base_/datasets/imagenet_bam.py",
    "../_base_/models/bam_vit-p16.py",
    "../_base_/schedules/bam_adamw_bs4096.py",
    "../_base_/default_runtime.py",
]

max_epochs = 400
warmup_epochs = 40
layout = _base_.layout

# Pillow on the fully decoded image, as in the scripts.
_base_.train_pipeline[0].update(lazy=False)
_base_.train_pipeline[1].update(backend="pillow")
train_dataloader = dict(dataset=dict(pipeline=_base_.train_pipeline))

model = dict(
    layout=layout,
    # In the released code, the teacher also sees the small crops, and all its rows are balanced.
    teacher_views="all",
    # The scripts set this option, but the released code crashes with it.
    head=dict(top_k=128),
    data_preprocessor=dict(layout=layout, photometric_place=_base_.photometric_place),
)

# .0003 per 256 images is .0048 for 4096; float16 with a dynamic loss scale.
optim_wrapper = dict(dtype="float16", optimizer=dict(lr=4.8e-3))
# The warm-up starts close to 0 (mmengine divides by the factor), and the cosine ends at 1e-3.
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-6,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs - warmup_epochs,
        eta_min=1e-3,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingWeightDecay",
        T_max=max_epochs,
        eta_min=0.4,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs)
default_hooks = dict(
    checkpoint=dict(interval=5, max_keep_ckpts=3),
    boxes={**_base_.boxes, "interval": 40},
    runtime_info=dict(type="bam_mm.DeferredRuntimeInfoHook"),
)

custom_hooks = [
    dict(type="bam_mm.TeacherUpdateHook", momentum=0.995, end_momentum=1.0),
    dict(type="bam_mm.CollapseMonitorHook", interval=50, warmup=2000),
    dict(
        type="bam_mm.OnlineKNNHook",
        k=20,
        bank_fraction=0.1,
        interval=20,
    ),
    dict(type="bam_mm.SkippedImagesHook"),
]
