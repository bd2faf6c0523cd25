"""Backbones and videos with known answers for the tests of label propagation."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from bam_mm.data.indexed_png import voc_palette
from bam_mm.data.toy.davis import clips, write_clip
from bam_mm.registry import MODELS
from tests.data.video_tree import read_indexed

TOY_VIT = dict(
    type="mmpretrain.MoCoV3ViT",
    arch=dict(embed_dims=32, num_layers=2, num_heads=4, feedforward_channels=64),
    img_size=48,
    patch_size=8,
)
PLAIN = dict(mean=(0, 0, 0), std=(1, 1, 1))


@MODELS.register_module(force=True)
class ColourNames(nn.Module):
    """Features that identify the object in painted frames: the share of each colour in a patch."""

    def __init__(self, patch_size=8, colours=6):
        super().__init__()
        self.patch_size = patch_size
        palette = torch.tensor(voc_palette()[: 3 * colours]).view(-1, 3, 1, 1) / 255
        self.register_buffer("palette", palette)
        self.batches = []

    def forward(self, images):
        self.batches.append(images.clone())
        distances = (images[:, None] - self.palette).square().sum(2)  # (N, colours, H, W)
        names = F.one_hot(distances.argmin(1), len(self.palette)).permute(0, 3, 1, 2).float()
        return (F.avg_pool2d(names, self.patch_size),)


def write_videos(root, count=2, frames=6, seed=0, painted=False):
    """Write toy videos; painted ones show every object in its flat palette colour."""
    for number, clip in enumerate(clips("val", count, seed=seed)):
        name = f"v{number}"
        write_clip(root, name, clip, frames=frames)
        if not painted:
            continue
        for path in sorted((root / "JPEGImages/480p" / name).iterdir()):
            mask = root / "Annotations/480p" / name / f"{path.stem}.png"
            ids, palette = read_indexed(mask)
            colours = np.array(palette, np.uint8).reshape(-1, 3)[ids]
            Image.fromarray(colours).save(path.with_suffix(".png"))
            path.unlink()
    return root
