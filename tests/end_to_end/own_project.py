"""A user's folder for the files in ``examples/``, with the data and the checkpoints they name.

The folders of docs/your_data.md, whose commands write their own checkpoints, are in ``own_data``.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope

from bam_mm.data.toy import CLASS_NAMES, make_world
from bam_mm.registry import MODELS
from tests.end_to_end.toy_as_own import with_categories, write_maps

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PARTS = dict(zip(CLASS_NAMES[:3], ("bolt", "nut", "washer"), strict=True))
SPECIES = dict(zip(CLASS_NAMES[:5], ("crow", "kite", "owl", "robin", "wren"), strict=True))
VIT = dict(
    type="MoCoV3ViT",
    arch=dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=96),
    img_size=32,
    patch_size=8,
)
RESNET = dict(type="ResNet", depth=18)
_LOADERS = ("train", "val", "test")
_QUICK = [f"{part}_dataloader.num_workers=0" for part in _LOADERS]
_QUICK += [f"{part}_dataloader.persistent_workers=False" for part in _LOADERS]
_QUICK += ["default_hooks.logger.interval=1", "train_cfg.val_begin=9"]
_VIT = [f"model.backbone.arch.{key}={value}" for key, value in VIT["arch"].items()]
_VIT += ["model.backbone.img_size=32", "model.backbone.patch_size=8"]
_EPOCH = [*_QUICK, "train_cfg.max_epochs=1"]
SHORT = {
    "mmdet": [
        *_EPOCH,
        "model.backbone.depth=18",
        "model.neck.in_channels=[64,128,256,512]",
        "model.roi_head.bbox_head.fc_out_channels=16",
        "model.train_cfg.rcnn.sampler.num=16",
        "model.train_cfg.rpn_proposal.max_per_img=20",
        "model.test_cfg.rpn.max_per_img=20",
        "model.test_cfg.rcnn.max_per_img=5",
        "train_dataloader.dataset.pipeline.2.scales=[(64,48)]",
        "test_dataloader.dataset.pipeline.1.scale=(64,48)",
    ],
    "mmseg": [
        *_QUICK,
        *_VIT,
        "model.backbone.blocks=[0,1,2,3]",
        "model.neck.embed_dim=48",
        "model.decode_head.in_channels=[48,48,48,48]",
        "model.decode_head.channels=16",
        "model.auxiliary_head.in_channels=48",
        "model.auxiliary_head.channels=16",
        "model.data_preprocessor.size=(64,64)",
        "model.test_cfg.crop_size=(64,64)",
        "model.test_cfg.stride=(48,48)",
        "train_cfg.max_iters=2",
        "default_hooks.checkpoint.interval=2",
        "train_dataloader.batch_size=2",
        "train_dataloader.dataset.pipeline.2.scale=(128,64)",
        "train_dataloader.dataset.pipeline.3.crop_size=(64,64)",
        "test_dataloader.dataset.pipeline.1.scale=(128,64)",
    ],
    "mmpretrain": [
        *_EPOCH,
        *_VIT,
        "model.head.in_channels=48",
        "train_dataloader.batch_size=5",
        "train_dataloader.dataset.pipeline.1.scale=32",
    ],
}
"""Options that make a trial of two steps out of each example, with small networks and images."""


def make_project(folder):
    """Write data and checkpoints where the examples look for them."""
    world = folder / "world"
    make_world(world, scale=0.004, only=["images", "coco", "ade20k"])
    _parts(world / "coco", folder / "data/parts")
    _aerial(world / "ade20k", folder / "data/aerial")
    for split in ("train", "val"):
        for name, species in SPECIES.items():
            shutil.copytree(
                world / "images" / split / name, folder / "data/birds" / split / species
            )
    for name, backbone in (("bam_vit-small", VIT), ("bam_resnet50", RESNET)):
        save_pretrained(backbone, folder / "work_dirs" / name / "epoch_300.pth")
    shutil.rmtree(world)
    return folder


def save_pretrained(backbone, path):
    """Save what BAM's pretraining saves: student, teacher, projectors, and the config."""
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    state = {}
    for prefix in ("", "teacher."):
        network = MODELS.build({**backbone, "type": f"mmpretrain.{backbone['type']}"})
        weights = network.state_dict()
        # Norms and tokens start from ones and zeros, which would be the same in both.
        weights = {
            k: v + 0.1 * torch.rand_like(v) if v.is_floating_point() else v
            for k, v in weights.items()
        }
        state.update({f"{prefix}backbone.{k}": v for k, v in weights.items()})
        state[f"{prefix}neck.layers.0.weight"] = torch.randn(8, 8)
    config = (
        f"model = dict(type='bam_mm.BAM', backbone={backbone!r})\ndefault_scope = 'mmpretrain'\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=state, meta=dict(cfg=config)), path)


def _parts(coco, out):
    (out / "photos").mkdir(parents=True)
    for split in ("train", "val"):
        found = json.loads((coco / f"annotations/instances_{split}.json").read_text())
        toy = {c["id"]: c["name"] for c in found["categories"] if c["name"] in PARTS}
        found = with_categories(found, {n: (n, PARTS[name]) for n, name in toy.items()})
        for image in found["images"]:
            name = f"{split}_{image['file_name']}"
            shutil.copy(coco / split / image["file_name"], out / "photos" / name)
            image["file_name"] = name
        (out / f"{split}.json").write_text(json.dumps(found))


def _aerial(ade20k, out):
    for split, theirs in (("train", "training"), ("val", "validation")):
        shutil.copytree(ade20k / "images" / theirs, out / split / "photos")
        write_maps(
            ade20k / "annotations" / theirs,
            out / split / "maps",
            lambda ids: np.where(ids == 0, 255, (ids - 1) % 4),
        )
