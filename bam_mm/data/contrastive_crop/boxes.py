"""From heat maps to boxes: of a batch, and of a whole data set over one or many processes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.distributed import gather_rows
from bam_mm.errors import InputError


def boxes_from_heat_maps(maps: Tensor, size: tuple[int, int], threshold: float = 0.1) -> Tensor:
    """Box around what is lit in each heat map (ContrastiveCrop: Peng et al., CVPR 2022, 3.2).

    For each map::

        scaled = (map - min) / (max - min)
        lit = bilinear(scaled, size) > threshold
        box = first and last row and column of lit, / size

    Args:
        maps: (N, h, w), any unit.
        size: (H, W) of the image that they cover, to which they are enlarged.
        threshold: In [0, 1).

    Returns:
        (N, 4) in the maps' dtype: top, left, bottom, right as fractions of the image, each pixel
        with its whole extent. A flat map, which points at nothing, gives the whole image.

    Raises:
        InputError: If the threshold leaves [0, 1), or a map holds what is no number.
    """
    if not 0 <= threshold < 1:
        raise InputError(
            f"box threshold={threshold}: heat maps are scaled to [0, 1], choose from 0 up to below "
            "1 (.1 in the paper)"
        )
    finite = maps.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise InputError(
            f"{int((~finite).sum())} of {len(maps)} heat maps hold values that are no numbers, so "
            "there are no boxes: the backbone has diverged; lower the learning rate, clip "
            "gradients, or train in bfloat16 instead of float16"
        )
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    scaled = (maps - low) / (high - low).clamp_min(torch.finfo(maps.dtype).tiny)
    lit = F.interpolate(scaled[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    lit = lit > threshold
    rows, columns = _extent(lit.any(2)), _extent(lit.any(1))
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
) -> tuple[Tensor, Tensor]:
    """Boxes around what a backbone looks at; each process computes its share, all get all.

    Args:
        backbone: In any mode; it is in evaluation mode here and put back afterwards.
        preprocess: The model's data preprocessor.
        loader: Of whole images; its sampler must be ``EVALUATION_SAMPLER``.
        heat_maps: Returns a heat map (N, h, w) for each of (N, 3, H, W) images, such as
            :func:`~bam_mm.models.saliency.saliency`.
        threshold: Of :func:`boxes_from_heat_maps`.
        description: For the progress bar (shown on a terminal only).

    Returns:
        Indices (n,) int64 in the data set, rising, and boxes (n, 4) float32, on the model's device
        and the same on every process.
    """
    device = next(backbone.parameters()).device
    indices = [torch.zeros(0, dtype=torch.int64, device=device)]
    boxes = [torch.zeros(0, 4, device=device)]
    # A teacher keeps its dropout off while it trains: each module gets its own mode back.
    modes = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    quiet = not (is_main_process() and sys.stdout.isatty())
    try:
        for data in track(loader, description=description, disable=quiet, transient=True):
            data = preprocess(data, False)
            images = data["inputs"]
            maps = heat_maps(backbone, images).float()
            boxes.append(boxes_from_heat_maps(maps, tuple(images.shape[-2:]), threshold))
            found = [sample.sample_idx for sample in data["data_samples"]]
            indices.append(torch.tensor(found, device=device))
    finally:
        for module, mode in modes:
            module.training = mode
    rows, columns = gather_rows(torch.cat(indices)), gather_rows(torch.cat(boxes))
    order = rows.argsort(stable=True)
    return rows[order], columns[order]


def _extent(lit: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last true place of each row of (N, L); 0 and L where there is none."""
    first = lit.int().argmax(1)
    last = lit.shape[1] - lit.flip(1).int().argmax(1)
    return first, last
