"""Methods on a ViT with frozen position embeddings train under DistributedDataParallel.

``MoCoV3ViT`` freezes them in ``init_weights``, which mmengine calls after it has wrapped the model.
"""

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import init_default_scope

from bam_mm.registry import MODELS
from tests.distributed.processes import run_processes

NECK = dict(
    type="NonLinearNeck",
    in_channels=24,
    hid_channels=8,
    out_channels=8,
    with_avg_pool=False,
    norm_cfg=dict(type="BN1d"),
)
PREDICTOR = {**NECK, "in_channels": 8}
METHODS = {
    "bam_mm.BAM": dict(
        neck=dict(type="bam_mm.BAMProjector", in_channels=24, hid_channels=8, out_channels=8),
        head=dict(type="bam_mm.BAMHead"),
    ),
    "bam_mm.BYOL": dict(neck=NECK, predictor=PREDICTOR),
    "bam_mm.MoCoV3": dict(neck=NECK, predictor=PREDICTOR, head=dict(type="bam_mm.MoCoV3Head")),
    "bam_mm.SimCLR": dict(neck=NECK, head=dict(type="bam_mm.SimCLRHead")),
    "bam_mm.SwAV": dict(neck=NECK, head=dict(type="bam_mm.SwAVHead", channels=8, num_prototypes=5)),
    "bam_mm.NNCLR": dict(
        neck=NECK,
        predictor=PREDICTOR,
        head=dict(type="bam_mm.NNCLRHead", channels=8, queue_size=32),
    ),
    "bam_mm.ReLIC": dict(neck=NECK, head=dict(type="bam_mm.ReLICHead")),
    "bam_mm.DINO": dict(
        neck=dict(
            type="bam_mm.DINOProjector",
            in_channels=24,
            hid_channels=8,
            bottleneck_channels=8,
            out_channels=12,
        ),
        head=dict(type="bam_mm.DINOHead", out_channels=12),
    ),
}
BYOL_OF_MMPRETRAIN = dict(
    neck=NECK,
    head=dict(
        type="LatentPredictHead", predictor=PREDICTOR, loss=dict(type="CosineSimilarityLoss")
    ),
)


def train(kind, parts):
    """Train two iterations, as a run of mmengine builds and initialises the model."""
    arch = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=24)
    backbone = dict(type="MoCoV3ViT", arch=arch, img_size=16, patch_size=8)
    layout = dict(layout=dict(num_global=2, num_local=0, global_size=16))
    ours = layout if kind.startswith("bam_mm") else {}
    torch.manual_seed(0)
    model = MODELS.build(dict(type=kind, backbone=backbone, **parts, **ours))
    wrapped = MMDistributedDataParallel(model)
    model.init_weights()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):
        views = [torch.randn(4, 3, 16, 16) for _ in range(2)]
        loss = wrapped(views, [], mode="loss")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None for p in trained)


def work(rank, world):
    init_default_scope("mmpretrain")
    for name, value in (("max_iters", 100), ("iter", 0)):  # mmpretrain's schedule reads them.
        MessageHub.get_current_instance().update_info(name, value)
    for kind, parts in METHODS.items():
        train(kind, parts)
    with pytest.raises(RuntimeError, match="find_unused_parameters=True"):
        train("BYOL", BYOL_OF_MMPRETRAIN)


def test_two_iterations_of_every_method():
    run_processes(work, 2)
