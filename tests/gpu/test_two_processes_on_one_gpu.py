"""Two processes train on one GPU: an epoch, boxes, kNN, a checkpoint, and on from there.

NCCL refuses two processes on one device. gloo communicates tensors of GPUs as well.
"""

import os
import re
import subprocess
import sys

import pytest

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from tests.distributed.test_loss_over_processes import free_port
from tests.gpu import DEVICE, NEEDS_DEVICE

pytestmark = [*NEEDS_DEVICE, pytest.mark.slow]
CONFIG = """
_base_ = "bam_mm::pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy-contrastive-crop.py"
env_cfg = dict(dist_cfg=dict(backend="cpu:gloo,cuda:gloo"))
optim_wrapper = dict(type="AmpOptimWrapper", dtype="bfloat16")
"""


def train(config, data, epochs, *options):
    """Train in two processes, both on the first GPU, and return what the first one prints."""
    command = [sys.executable, "-m", "bam_mm", "train", str(config), "--launcher", "pytorch"]
    command += ["--work-dir", str(config.parent / "run"), *options, "--cfg-options"]
    command += [
        f"data_root={data}/images",
        "max_epochs=2",
        f"train_cfg.max_epochs={epochs}",
        "train_dataloader.batch_size=16",
        "default_hooks.boxes.start=0",
        "default_hooks.boxes.interval=1",
        "custom_hooks.2.k=5",
        "custom_hooks.2.interval=1",
        "default_hooks.logger.interval=1",
    ]
    place = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), WORLD_SIZE="2")
    processes = [
        subprocess.Popen(
            command,
            # mmengine uses the GPU with the number LOCAL_RANK.
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(printed)[-6000:]
    return printed[0]


def test_training_is_resumed(tmp_path):
    make_world(tmp_path / "toy", scale=0.012, only=["images"])  # 48 training images
    config = tmp_path / "two.py"
    config.write_text(CONFIG)
    first = train(config, tmp_path / "toy", 1)
    assert "boxes of 48 images" in first
    assert len(re.findall(r"kNN after 1 iterations .*teacher [\d.]+ %", first)) == 1
    saved = read_checkpoint(tmp_path / "run/epoch_1.pth")
    second = train(config, tmp_path / "toy", 2, "--resume")
    assert "resuming from" in second and "epoch_1.pth" in second
    after = read_checkpoint(tmp_path / "run/epoch_2.pth")
    assert saved["meta"]["iter"] == 1 and after["meta"]["iter"] == 2
    weights = [ck["state_dict"]["teacher.backbone.ln1.weight"] for ck in (saved, after)]
    assert weights[0].isfinite().all() and (weights[0] != weights[1]).any()
    if DEVICE == "cuda":
        assert "memory:" in first  # mmengine logs it for models on a GPU only
