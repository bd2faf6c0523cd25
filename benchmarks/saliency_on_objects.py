r"""How well heat maps find the objects of photographs: maps summed over channels, and their norm.

    python benchmarks/saliency_on_objects.py timm:tf_efficientnet_lite0@WEIGHTS.pth \
        COCO/annotations/instances_val2017.json COCO/val2017 --mean .5 --std .5

The backbone sees each image as a square, as ContrastiveCrop does. A map is enlarged bilinearly to
that square and compared with the pixels of the annotated objects (no crowds): the area under the
ROC curve of each image is the share of pairs of an object's and a background's pixel in which the
object's value is larger, .5 for chance. Printed are the means over images, and in how many images
the map that ContrastiveCrop uses is better than the sum.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from pycocotools.coco import COCO
from rich.progress import track
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bam_mm.checkpoint import build_backbone
from bam_mm.models.patch_features import feature_map
from bam_mm.models.saliency import is_transformer, saliency

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def object_mask(coco, image_id, size):
    """Return the (size, size) pixels of all objects, or None if they are all or none of them."""
    entries = coco.loadAnns(coco.getAnnIds(imgIds=image_id, iscrowd=False))
    masks = [coco.annToMask(entry) for entry in entries]
    if not masks:
        return None
    union = cv2.resize(np.maximum.reduce(masks), (size, size), interpolation=cv2.INTER_NEAREST)
    return union if 0 < union.mean() < 1 else None


def area_under_curve(heat, mask):
    """Return the area under the ROC curve of one (h, w) map for a (size, size) mask."""
    large = F.interpolate(
        heat[None, None].float(), size=mask.shape, mode="bilinear", align_corners=False
    )
    return roc_auc_score(mask.ravel(), large.numpy().ravel())


@torch.no_grad()
def main():
    """Compare the maps of one backbone."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbone")
    parser.add_argument("annotations", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--size", type=int, default=224, help="side of the square in pixels")
    parser.add_argument("--mean", type=float, nargs="+", default=IMAGENET_MEAN)
    parser.add_argument("--std", type=float, nargs="+", default=IMAGENET_STD)
    args = parser.parse_args()
    init_default_scope("mmpretrain")
    backbone, _ = build_backbone(args.backbone)
    backbone.eval()
    coco = COCO(args.annotations)
    areas = {"sum over channels": [], "as used": []}
    for image_id, entry in track(coco.imgs.items(), description="photographs"):
        mask = object_mask(coco, image_id, args.size)
        if mask is None:
            continue
        pixels = cv2.imread(str(args.images / entry["file_name"]))[:, :, ::-1]
        pixels = cv2.resize(pixels, (args.size,) * 2, interpolation=cv2.INTER_AREA)
        batch = (torch.from_numpy(pixels / 255) - torch.tensor(args.mean)) / torch.tensor(args.std)
        batch = batch.permute(2, 0, 1)[None].float()
        areas["as used"].append(area_under_curve(saliency(backbone, batch)[0], mask))
        if not is_transformer(backbone):
            summed = feature_map(backbone, batch, normalised=False).sum(dim=1)[0]
            areas["sum over channels"].append(area_under_curve(summed, mask))
    means = {name: np.mean(values) for name, values in areas.items() if values}
    print(f"{len(areas['as used'])} photographs with objects, of {len(coco.imgs)}")
    for name, mean in means.items():
        print(f"{name}: area under the curve {mean:.3f}")
    if len(means) == 2:
        better = np.greater(areas["as used"], areas["sum over channels"]).mean()
        print(f"as used is better in {100 * better:.0f} % of the photographs")


if __name__ == "__main__":
    main()
