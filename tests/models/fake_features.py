"""Backbone, data set and loader of wide features, for measuring the memory of a table."""

from pathlib import Path

import torch
from mmpretrain.structures import DataSample
from torch import nn

from bam_mm.distributed import rank, world_size

ROWS, WIDTH, BATCH = 3200, 16384, 32
TABLE_MB = ROWS * WIDTH * 4 / 2**20


class Images:
    """Data set of ``rows`` images in memory, whose pixels are the index of the image."""

    metainfo = {"classes": ("a", "b")}

    def __init__(self, rows=ROWS):
        self.rows = rows

    def __len__(self):
        return self.rows

    def get_data_info(self, index):
        return {"gt_label": index % 2, "img_path": None}


class Loader:
    """Batches of the images that ``EVALUATION_SAMPLER`` assigns to this process."""

    def __init__(self, rows=ROWS, batch=BATCH, indices=None):
        self.dataset, self.batch = Images(rows), batch
        self.indices = range(rank(), rows, world_size()) if indices is None else indices

    def __len__(self):
        return -(-len(self.indices) // self.batch)

    def __iter__(self):
        for start in range(0, len(self.indices), self.batch):
            chosen = list(self.indices[start : start + self.batch])
            yield dict(
                inputs=torch.tensor(chosen).float().view(-1, 1, 1, 1).expand(-1, 3, 2, 2),
                data_samples=[
                    DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % 2) for i in chosen
                ],
            )


class Wide(nn.Module):
    """Maps image i to the feature i + 1, i + 2, ... modulo 2048, which float16 holds exactly."""

    def __init__(self, width=WIDTH):
        super().__init__()
        self.steps = nn.Parameter(torch.arange(1.0, width + 1))

    def forward(self, x):
        return (x.mean(dim=(1, 2, 3))[:, None] + self.steps) % 2048


def resident_mb():
    """Return the resident memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 2**10


def unchanged(data, training):
    return data
