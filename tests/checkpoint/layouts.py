"""Small backbones of timm and mmpretrain, and checkpoints in the layouts of other codebases."""

import timm
import torch
from mmpretrain.registry import MODELS

WIDTH, DEPTH = 24, 2
ARCH = dict(embed_dims=WIDTH, num_layers=DEPTH, num_heads=3, feedforward_channels=4 * WIDTH)


def shaken(model, seed):
    """Perturb all weights randomly, so that exchanged tensors would be noticed."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            # Values of 1 stay near 1, so that the variance of BatchNorm stays positive.
            tensor.mul_(1 + 0.1 * noise).add_(0.02 * noise)
    model.eval()  # Returns None for models of mmpretrain.
    return model


def timm_vit(seed, **kwargs):
    torch.manual_seed(seed)
    settings = dict(img_size=32, patch_size=8, embed_dim=WIDTH, depth=DEPTH, num_heads=3)
    return shaken(
        timm.create_model("vit_tiny_patch16_224", **{**settings, "num_classes": 0, **kwargs}), seed
    )


def timm_beit(seed, shared=False):
    torch.manual_seed(seed)
    settings = dict(img_size=32, patch_size=8, embed_dim=WIDTH, depth=DEPTH, num_heads=3)
    if shared:
        settings.update(use_rel_pos_bias=False, use_shared_rel_pos_bias=True)
    model = timm.create_model("beit_base_patch16_224", num_classes=0, init_values=0.1, **settings)
    return shaken(model, seed)


def timm_caformer(seed):
    torch.manual_seed(seed)
    return shaken(timm.create_model("caformer_s18", num_classes=0), seed)


def mm_vit(seed, kind="MoCoV3ViT", **kwargs):
    torch.manual_seed(seed)
    settings = dict(arch=ARCH, img_size=32, patch_size=8)
    return shaken(MODELS.build(dict(type=kind, **{**settings, **kwargs})), seed)


def mm_beit(seed, **kwargs):
    return mm_vit(seed, "BEiTViT", layer_scale_init_value=0.1, **kwargs)


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def head(*names):
    return {name: torch.ones(3) for name in names}


def dino(student, teacher):
    """Return a checkpoint of main_dino.py, with the student in DistributedDataParallel."""
    return {
        "student": {
            **prefixed("module.backbone.", student),
            **head("module.head.mlp.0.weight", "module.head.last_layer.weight_v"),
        },
        "teacher": {
            **prefixed("backbone.", teacher),
            **head("head.mlp.0.weight", "head.last_layer.weight_v"),
        },
        "epoch": 3,
        "dino_loss": head("center"),
    }


def moco_v3(student, teacher):
    """Return a checkpoint of main_moco.py, in which the projector replaces the classifier."""
    return {
        "epoch": 3,
        "arch": "vit_small",
        "state_dict": {
            **prefixed("module.base_encoder.", student),
            **prefixed("module.momentum_encoder.", teacher),
            **head("module.base_encoder.head.0.weight", "module.momentum_encoder.head.0.weight"),
            **head("module.predictor.0.weight"),
        },
    }


def mae(encoder):
    """Return a checkpoint of main_pretrain.py of MAE."""
    decoder = head(
        "mask_token", "decoder_pos_embed", "decoder_embed.weight", "decoder_blocks.0.attn.qkv.bias",
        "decoder_norm.weight", "decoder_pred.bias",
    )  # fmt: skip
    return {"model": {**encoder, **decoder}, "epoch": 3, "scaler": {"scale": 1.0}}


def bam_released(student, teacher, batch_norm=False):
    """Return a checkpoint of main_pretrain.py of the BAM authors."""
    inner = "teacher.module." if batch_norm else "teacher."
    return {
        "model": {
            **prefixed("student.module.backbone.", student),
            **prefixed(inner + "backbone.", teacher),
            **head("student.module.proj_head.mlp.0.weight", inner + "proj_head.mlp.0.weight"),
        },
        "epoch": 3,
    }
