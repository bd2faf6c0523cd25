"""Many linear probes on two gloo processes equal those on one: weights, choice and table."""

import json
from argparse import Namespace
from pathlib import Path

import torch

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from tests.distributed.processes import run_processes

CONFIG = (
    Path(__file__).resolve().parents[2] / "configs/cls/vit-toy-p8_1xb64-linear-many-coslr-4e_toy.py"
)


def work(rank, world, images, out):
    from bam_mm.launch.config import load_config
    from bam_mm.launch.testing import test
    from bam_mm.launch.training import train

    options = {
        "data_root": str(images),
        "checkpoint": "random",
        "max_epochs": 1,
        "train_cfg.val_interval": 1,
        "train_dataloader.batch_size": 16 // world,
        "model.learning_rates": [0.01, 0.1],
    }
    for part in ("train_dataloader", "val_dataloader", "test_dataloader", "test_cfg.val"):
        options |= {f"{part}.num_workers": 0, f"{part}.persistent_workers": False}
    # Odd batches: the last one of a process is smaller than that of the other.
    options |= {"test_dataloader.batch_size": 5, "test_cfg.val.batch_size": 3}
    launcher = "pytorch" if world > 1 else "none"
    args = Namespace(
        config=str(CONFIG), work_dir=str(out), launcher=launcher, resume=None, amp=False,
        auto_scale_lr=False, checkpoint=str(out / "epoch_1.pth"), out=str(out / "metrics.json"),
    )  # fmt: skip
    train(load_config(CONFIG, options), args)
    test(load_config(CONFIG, options), args)


def test_one_process_equals_two(tmp_path):
    make_world(tmp_path / "world", scale=0.019)  # 76 and 19 images: 19 is odd
    images = tmp_path / "world/images"
    # One intra-op thread in all processes, so that sums have the same order.
    torch.set_num_threads(1)
    work(0, 1, images, tmp_path / "one")
    run_processes(work, 2, images, tmp_path / "two")
    one, two = (read_checkpoint(tmp_path / n / "epoch_1.pth")["state_dict"] for n in ("one", "two"))
    heads = [name for name in one if name.startswith("head.probes.")]
    assert len(heads) == 24 and one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=1e-5)
    for file in ("metrics.json", "probes/settings.json", "probes/chosen.json"):
        first, second = (json.loads((tmp_path / n / file).read_text()) for n in ("one", "two"))
        assert first == second
    table = json.loads((tmp_path / "one/probes/settings.json").read_text())
    assert len(table) == 12
    # Every image once: the accuracies are whole numbers of 19.
    assert all(abs(row["test_top1"] * 0.19 % 1 - 0.5) > 0.499 for row in table)
