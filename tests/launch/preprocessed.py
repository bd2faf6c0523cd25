"""Configs and models for the tests of preprocessing."""

import copy
from functools import cache

from bam_mm.checkpoint.geometry import Geometry
from bam_mm.checkpoint.library_preprocessing import timm_preprocessing
from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.launch.config import load_config, plain
from bam_mm.registry import CONFIGS

HALF = [127.5] * 3

LITE0 = dict(type="mmpretrain.TIMMBackbone", model_name="tf_efficientnet_lite0")

OTHER = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0])

OWN = timm_preprocessing(LITE0)

LARGE = Preprocessing((127.5,) * 3, (127.5,) * 3, "x", "rgb", Geometry(299, 0.875), "x")

# Every task, and where it keeps the mean.
TASKS = [
    "cls/vit-base-p16_knn_in1k",
    "cls/vit-base-p16_logreg_cars",
    "cls/vit-base-p16_cluster_in1k",
    "cls/vit-base-p16_8xb128-linear-coslr-100e_in1k",
    "cls/vit-base-p16_8xb128-amp-coslr-150e_in1k",
    "cls/vit-base-p16_8xb64-amp-coslr-100e_in1k-1percent",
    "cls/vit-base-p16_8xb16-amp-coslr-100e_pets",
    "det/vit-base-p16_cascade-mask-rcnn_8xb2-amp-12e_coco",
    "seg/vit-base-p16_upernet_8xb2-amp-160k_ade20k-512x512",
    "vos/vit-base-p16_label-propagation_davis2017",
    "cls/vit-toy-p8_knn_toy",
]


@cache
def _config(name):
    return load_config(CONFIGS / f"{name}.py")


def fresh(name):
    """Return a copy of a config, which is read only once."""
    return copy.deepcopy(_config(name))


def config_of(name, backbone=None, options=None):
    config = load_config(CONFIGS / f"{name}.py", options)
    if backbone is not None:
        config.model.backbone = backbone
    return config


def normalisation_of(config):
    place = config.model.get("data_preprocessor") or config.get("data_preprocessor")
    return place and (plain(place.mean), plain(place.std))


def pipelines_of(config):
    loop = config.get("test_cfg") or {}
    loaders = [config.test_dataloader, *(loop[k] for k in ("bank", "train", "val") if k in loop)]
    return [loader.dataset.pipeline for loader in loaders]
