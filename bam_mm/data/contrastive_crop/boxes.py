"""Boxes from heat maps, of a batch or of a whole data set over all processes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.distributed import gather_rows, whole_parameters
from bam_mm.errors import InputError
from bam_mm.precision import computing_in


def boxes_from_heat_maps(maps: Tensor, size: tuple[int, int], threshold: float = 0.1) -> Tensor:
    """Compute the box around the high values of each heat map.

    This is the box of ContrastiveCrop (Peng et al., CVPR 2022, 3.2). For each map::

        scaled = (map - min) / (max - min)
        mask = bilinear(scaled, size) > threshold
        box = first and last row and column of mask, / size

    Args:
        maps: (N, h, w) heat maps in any unit.
        size: Height and width of the images that the maps cover, to which they are enlarged.
        threshold: Threshold of the scaled maps, in [0, 1).

    Returns:
        (N, 4) boxes in the maps' dtype: top, left, bottom, right as fractions of the image, which
        include the first and the last pixel entirely. The box of a constant map is the whole image.

    Raises:
        InputError: If the threshold is not in [0, 1), or a value of a map is not finite.
    """
    if not 0 <= threshold < 1:
        raise InputError(
            f"box threshold={threshold}: heat maps are scaled to [0, 1], so choose a threshold in "
            "[0, 1) (0.1 in the paper)"
        )
    finite = maps.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise InputError(
            f"{int((~finite).sum())} of {len(maps)} heat maps have values that are not finite, so "
            "the backbone has diverged: lower the learning rate, clip gradients, or train in "
            "bfloat16 instead of float16"
        )
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
    large = F.interpolate(scaled[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    mask = large > threshold
    rows, columns = _extent(mask.any(2)), _extent(mask.any(1))
    edges = torch.stack([rows[0], columns[0], rows[1], columns[1]], dim=1)
    return edges.to(maps.dtype) / maps.new_tensor([*size, *size])


@torch.no_grad()
def extract_boxes(
    backbone: nn.Module,
    preprocess: Callable[[dict, bool], dict],
    loader: DataLoader,
    *,
    heat_maps: Callable[[nn.Module, Tensor], Tensor],
    threshold: float,
    description: str,
    precision: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute boxes from a backbone's heat maps of a data set, distributed over all processes.

    Args:
        backbone: Backbone in any mode. It runs in evaluation mode, and its mode is restored.
        preprocess: The model's data preprocessor.
        loader: Dataloader of whole images; its sampler must be ``EVALUATION_SAMPLER``.
        heat_maps: Function that takes the backbone and (N, 3, H, W) images and returns their heat
            maps (N, h, w), such as :func:`~bam_mm.models.saliency.saliency`.
        threshold: Threshold of the scaled heat maps; see :func:`boxes_from_heat_maps`.
        description: Text next to the progress bar, which is shown on a terminal only.
        precision: Precision in which the backbone computes, see
            :func:`~bam_mm.precision.computing_in`.

    Returns:
        Indices (n,) int64 in the data set, in ascending order, and boxes (n, 4) float32. They are
        on the model's device and the same on every process.
    """
    device = next(backbone.parameters()).device
    indices = [torch.zeros(0, dtype=torch.int64, device=device)]
    boxes = [torch.zeros(0, 4, device=device)]
    # A teacher's dropout stays off during training, so the mode of each module is restored.
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    quiet = not (is_main_process() and sys.stdout.isatty())
    try:
        with whole_parameters(backbone):
            for data in track(loader, description=description, disable=quiet, transient=True):
                data = preprocess(data, False)
                images = data["inputs"]
                with computing_in(precision, images.device):
                    maps = heat_maps(backbone, images).float()
                boxes.append(boxes_from_heat_maps(maps, tuple(images.shape[-2:]), threshold))
                found = [sample.sample_idx for sample in data["data_samples"]]
                indices.append(torch.tensor(found, device=device))
    finally:
        for module, mode in modes:
            module.training = mode
    all_indices, all_boxes = gather_rows(torch.cat(indices)), gather_rows(torch.cat(boxes))
    order = all_indices.argsort(stable=True)
    return all_indices[order], all_boxes[order]


def _extent(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first true place and one past the last of each row of (N, L); else 0 and L."""
    first = mask.int().argmax(1)
    last = mask.shape[1] - mask.flip(1).int().argmax(1)
    return first, last
