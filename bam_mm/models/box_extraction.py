"""Boxes of a whole data set, over one or many processes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from mmengine.dist import is_main_process
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader

from bam_mm.distributed import gather_rows
from bam_mm.evaluation import boxes_from_heat_maps
from bam_mm.models.saliency import saliency


@torch.no_grad()
def extract_boxes(
    backbone: nn.Module,
    preprocess: Callable[[dict, bool], dict],
    loader: DataLoader,
    *,
    threshold: float,
    description: str,
) -> tuple[Tensor, Tensor]:
    """Boxes around what a backbone looks at; each process computes its share, all get all.

    Args:
        backbone: In any mode; it is in evaluation mode here and put back afterwards.
        preprocess: The model's data preprocessor.
        loader: Of whole images; its sampler must be ``EVALUATION_SAMPLER``.
        threshold: Of :func:`~bam_mm.evaluation.heat_map_boxes.boxes_from_heat_maps`.
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
            maps = saliency(backbone, images).float()
            boxes.append(boxes_from_heat_maps(maps, tuple(images.shape[-2:]), threshold))
            found = [sample.sample_idx for sample in data["data_samples"]]
            indices.append(torch.tensor(found, device=device))
    finally:
        for module, mode in modes:
            module.training = mode
    rows, columns = gather_rows(torch.cat(indices)), gather_rows(torch.cat(boxes))
    order = rows.argsort(stable=True)
    return rows[order], columns[order]
