# The paper's tables 2 to 7 and Fig. 7: several days on GPUs. The batch size in a config's name is
# for 8 GPUs: --gpus-per-run 8. For another number, the learning rate is scaled.
_base_ = "./quick.py"

title = "The paper's tables"
about = (
    "Linear probes, fine-tuning, semi-supervised training, transfer, clustering, video, "
    "detection and segmentation with the protocols of the BAM paper (ECCV 2024)."
)

_imagenet = dict(title="ImageNet-1k", root="imagenet", check="imagenet")


def _semi(percent):
    return dict(
        name=f"semi{percent}",
        title=f"{percent} % of labels",
        about=f"fine-tuning on {percent} % of the labels, "
        "{train_cfg.max_epochs} epochs (Table 4, settings of 9c)",
        kind="train",
        config=f"bam_mm::cls/vit-base-p16_8xb64-amp-coslr-100e_in1k-{percent}percent.py",
        metrics={
            "accuracy/top1": dict(label="top-1", main=True, published=f"semi.{percent}:table9c"),
            "accuracy/top5": "top-5",
        },
        data=dict(
            title=f"ImageNet-1k and SimCLR's list imagenet/subsets/{percent}percent.txt",
            root="imagenet",
            check="imagenet",
        ),
        cost="hours on 8 GPUs",
    )


def _finetune(name, title, root, metric, label, batch):
    return dict(
        name=f"finetune-{name}",
        title=f"Fine-tuning: {title}",
        about="all layers are trained, {train_cfg.max_epochs} epochs, MoCo v3's settings (Table 5)",
        kind="train",
        config=f"bam_mm::cls/vit-base-p16_8xb{batch}-amp-coslr-100e_{name}.py",
        metrics={metric: dict(label=label, main=True, published=f"finetune.{name}:mocov3")},
        data=dict(title=title, root=root, check=name),
        cost="hours on 8 GPUs",
    )


def _linear(name, title, about, protocol, **config):
    return dict(
        name=name,
        title=title,
        about=about,
        kind="train",
        config=config,
        metrics={
            "accuracy/top1": dict(label="top-1", main=True, published=f"linear:{protocol}"),
            "accuracy/top5": "top-5",
        },
        data=_imagenet,
        cost="not measured",
    )


tasks = [
    *_base_.tasks,
    _linear(
        "linear",
        "Linear probe",
        "BAM's protocol: [CLS] and mean patch, or the pooled map of a CNN, "
        "{train_cfg.max_epochs} epochs (Table 2)",
        protocol="bam",
        vit="bam_mm::cls/vit-base-p16_8xb128-linear-coslr-100e_in1k.py",
        cnn="bam_mm::cls/resnet50_8xb128-linear-coslr-100e_in1k.py",
    ),
    _linear(
        "linear-dino",
        "Linear probe (DINO)",
        "DINO's protocol for ViT-B: [CLS] and mean patch, no BatchNorm, "
        "{train_cfg.max_epochs} epochs (Table 2)",
        protocol="dino",
        any="bam_mm::cls/vit-base-p16_8xb128-linear-dino-coslr-100e_in1k.py",
    ),
    _linear(
        "linear-mocov3",
        "Linear probe (MoCo v3)",
        "MoCo v3's protocol: [CLS], {train_cfg.max_epochs} epochs (Table 2)",
        protocol="mocov3",
        any="bam_mm::cls/vit-base-p16_8xb128-linear-mocov3-coslr-90e_in1k.py",
    ),
    dict(
        name="linear-many",
        title="Linear probe (many settings)",
        about=(
            "features {model.features}, learning rates {model.learning_rates} and weight decays "
            "{model.weight_decays} in one training of {train_cfg.max_epochs} epochs, chosen on "
            "held-out training images (DINOv2's way)"
        ),
        kind="train",
        config=dict(
            vit="bam_mm::cls/vit-base-p16_8xb128-linear-many-coslr-10e_in1k.py",
            cnn="bam_mm::cls/resnet50_8xb128-linear-many-coslr-10e_in1k.py",
        ),
        metrics=_base_.probe_accuracy,
        data=_imagenet,
        cost="not measured",
        seeds=_base_.probe_seeds,
        curves=[_base_.probe_curve],
    ),
    dict(
        name="finetune",
        title="Fine-tuning",
        about="all layers are trained, DeiT's recipe, {train_cfg.max_epochs} epochs (Table 3)",
        kind="train",
        config="bam_mm::cls/vit-base-p16_8xb128-amp-coslr-150e_in1k.py",
        metrics={
            "accuracy/top1": dict(label="top-1", main=True, published="finetune:bam"),
            "accuracy/top1_origin": "top-1 without the model average",
        },
        data=_imagenet,
        cost="two days on 8 GPUs",
    ),
    _semi(1),
    _semi(10),
    _finetune("cifar10", "CIFAR-10", "cifar", "accuracy/top1", "top-1", batch=128),
    _finetune("cifar100", "CIFAR-100", "cifar", "accuracy/top1", "top-1", batch=128),
    _finetune("pets", "Pets", "pets", "single-label/recall", "mean per class", batch=16),
    _finetune("flowers", "Flowers", "flowers", "single-label/recall", "mean per class", batch=16),
    dict(
        name="det",
        title="Detection",
        about="Cascade Mask R-CNN, {train_cfg.max_epochs} epochs (iBOT; Table 7)",
        kind="train",
        config=dict(
            vit="bam_mm::det/vit-base-p16_cascade-mask-rcnn_8xb2-amp-12e_coco.py",
            cnn="bam_mm::det/resnet50_cascade-mask-rcnn_8xb2-amp-12e_coco.py",
            layernorm="bam_mm::det/caformer-m36_cascade-mask-rcnn_8xb2-amp-12e_coco.py",
        ),
        metrics={
            **_base_.detection,
            "coco/bbox_mAP": dict(label="box AP", main=True, scale=100, published="coco.box:ibot"),
            "coco/segm_mAP": dict(
                label="mask AP", main=True, scale=100, published="coco.mask:ibot"
            ),
        },
        data=dict(title="COCO 2017", root="coco", check="coco"),
        cost="not measured",
        pictures=[_base_.prediction_pictures],
    ),
    dict(
        name="seg",
        title="Segmentation",
        about="UPerNet, {train_cfg.max_iters} iterations with crops of 512 px (iBOT; Table 7)",
        kind="train",
        config=dict(
            vit="bam_mm::seg/vit-base-p16_upernet_8xb2-amp-160k_ade20k-512x512.py",
            cnn="bam_mm::seg/resnet50_upernet_8xb2-amp-160k_ade20k-512x512.py",
            layernorm="bam_mm::seg/caformer-m36_upernet_8xb2-amp-160k_ade20k-512x512.py",
        ),
        metrics={
            **_base_.segmentation,
            "mIoU": dict(label="mIoU", main=True, published="ade20k.miou:ibot"),
            "mAcc": dict(label="mAcc", published="ade20k.macc:ibot"),
        },
        data=dict(title="ADE20K", root="ade/ADEChallengeData2016", check="ade20k"),
        cost="not measured",
        pictures=[_base_.prediction_pictures],
    ),
]
