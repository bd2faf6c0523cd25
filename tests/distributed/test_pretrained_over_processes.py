"""``bam_mm.PretrainedBackbone`` in several processes."""

import os

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS

from bam_mm.checkpoint import PROOF
from tests.distributed.test_loss_over_processes import free_port
from tests.models.test_pretrained_backbone import (
    BACKBONES,
    Model,
    assert_equal,
    pretraining_file,
)


def work(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(rank)
    run = folder / f"run{rank}" / "2026"
    # Both processes write a log, so that both know a work folder.
    MMLogger.get_instance(f"rank{rank}", log_file=str(run / "2026.log"), distributed=True)
    init = dict(type="bam_mm.PretrainedBackbone", checkpoint=str(folder / "bam.pth"))
    model = MMDistributedDataParallel(Model(dict(BACKBONES["mmpretrain-vit"], init_cfg=init)))
    model.module.init_weights()
    torch.save(model.module.backbone.state_dict(), folder / f"{rank}.pth")
    dist.destroy_process_group()


def test_every_process_has_the_teacher_and_one_writes_the_proof(tmp_path):
    backbone = MODELS.build(BACKBONES["mmpretrain-vit"])
    teacher = pretraining_file(tmp_path / "bam.pth", backbone)
    for rank in range(2):
        (tmp_path / f"run{rank}" / "2026").mkdir(parents=True)
    mp.start_processes(work, args=(free_port(), tmp_path), nprocs=2, start_method="fork")
    for rank in range(2):
        backbone.load_state_dict(torch.load(tmp_path / f"{rank}.pth", weights_only=True))
        assert_equal(backbone, teacher)
        assert (tmp_path / f"run{rank}" / PROOF).exists() == (rank == 0)
