"""Runs of dense kNN on small folders of stripes, whose colours a backbone reads perfectly."""

from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from bam_mm.launch.config import load_config
from bam_mm.launch.testing import test as run_test
from bam_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "configs/seg/vit-small-p16_dense-knn_maps.py"
CLASSES = 4
PATCH = 8
GREY, STEP = 20, 50


@MODELS.register_module()
class ReadsColours(nn.Module):
    """Maps of patches of 8 px: one-hot of the class whose grey the middle of the patch has.

    Args:
        noise: Factor of features that depend on the speckles alone, 0 for none.
    """

    def __init__(self, noise=0.0):
        super().__init__()
        self.noise = noise
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(CLASSES, 3, PATCH, PATCH, generator=generator)
        self.weight = nn.Parameter(weight / PATCH)

    def forward(self, x):
        grey = x[:, 0, PATCH // 2 :: PATCH, PATCH // 2 :: PATCH]
        classes = ((grey - GREY) / STEP).round().long().clamp(0, CLASSES - 1)
        maps = F.one_hot(classes, CLASSES).permute(0, 3, 1, 2).float()
        if self.noise:
            maps = maps + self.noise * F.conv2d((x - x[:, :1]) / 20, self.weight, stride=PATCH)
        return (maps,)


def write_stripes(root, *, train=5, val=4, size=(48, 64), offset=0, unlabelled=(), speckled=False):
    """Write images of vertical stripes of 16 px and their maps.

    Args:
        root: Folder that gets ``images`` and ``annotations``.
        train: Number of images in the bank.
        val: Number of images to test.
        size: Height and width in pixels.
        offset: Id of the first class in the maps.
        unlabelled: Ids that some rows of the maps hold, such as 255.
        speckled: Whether pixels differ within a stripe.
    """
    rng = np.random.default_rng(0)
    for split, number in (("train", train), ("val", val)):
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            classes = rng.permutation(CLASSES)[: size[1] // 16]
            labels = np.tile(classes.repeat(16), (size[0], 1))
            image = np.repeat((GREY + STEP * labels)[..., None], 3, axis=2)
            if speckled:
                image[..., 1:] += rng.integers(-20, 20, (*size, 2))
            ids = labels + offset
            for row, value in enumerate(unlabelled):
                ids[row * PATCH : row * PATCH + PATCH // 2] = value
            cv2.imwrite(str(root / f"images/{split}/{index}.png"), image.astype(np.uint8))
            cv2.imwrite(str(root / f"annotations/{split}/{index}.png"), ids.astype(np.uint8))


def evaluate(root, out, *, noise=0.0, reduced=False, launcher="none", change=None, **options):
    """Run the loop with ``ReadsColours`` and return its metrics.

    Args:
        root: Folder from :func:`write_stripes`.
        out: Work folder.
        noise: See :class:`ReadsColours`.
        reduced: Whether 0 is unlabelled in the maps.
        launcher: ``none`` or ``pytorch``.
        change: Function that changes the config.
        **options: Settings of ``test_cfg``.
    """
    config = load_config(PATH, {"data_root": str(root)})
    config.model.backbone = dict(type="bam_mm.ReadsColours", noise=noise)
    config.model.data_preprocessor = dict(mean=[0.0] * 3, std=[1.0] * 3, bgr_to_rgb=False)
    config.preprocessing = dict(normalisation="config", geometry="config")
    for loader in (config.test_dataloader, config.test_cfg.bank):
        loader.update(num_workers=0, batch_size=2)
        loader.dataset.update(
            reduce_zero_label=reduced,
            img_suffix=".png",
            metainfo=dict(classes=list("abcd"), zero_is_unlabelled=reduced),
        )
        loader.dataset.pipeline = [s for s in loader.dataset.pipeline if s.type != "Resize"]
    config.test_cfg.update({"k": 3, **options})
    if change is not None:
        change(config)
    out.mkdir(exist_ok=True, parents=True)
    args = Namespace(
        config=str(PATH), checkpoint="random", work_dir=str(out), launcher=launcher,
        out=str(out / "metrics.json"), cfg_options={},
    )  # fmt: skip
    return run_test(config, args)
