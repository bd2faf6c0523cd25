"""Losses that are read later are the same in the history, the log and the checkpoint."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.hooks import DeferredRuntimeInfoHook
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
OURS = "bam_mm.DeferredRuntimeInfoHook"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_world(folder, scale=0.006)  # 24 training images: six iterations per epoch
    return folder


def train(hook, world, work_dir):
    options = {
        "data_root": str(world / "images"),
        "train_dataloader.batch_size": 4,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "max_epochs": 2,
        "work_dir": str(work_dir),
        "default_hooks.boxes.start": None,
        "default_hooks.logger.interval": 4,
        # Save within an epoch, between two lines of the log.
        "default_hooks.checkpoint.by_epoch": False,
        "default_hooks.checkpoint.interval": 9,
        "optim_wrapper.clip_grad": dict(max_norm=0.3),
    }
    config = load_config(CONFIG, options)
    config.default_hooks.runtime_info = dict(type=hook)
    config.custom_hooks = [h for h in config.custom_hooks if "KNN" not in h.type]
    torch.manual_seed(0)
    runner = build_runner(config)
    runner.train()
    history = {
        name: tuple(map(tuple, buffer.data))
        for name, buffer in runner.message_hub.log_scalars.items()
        if "time" not in name
    }
    [log] = work_dir.rglob("scalars.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        for name in [name for name in line if "time" in name or "memory" in name]:
            del line[name]
    saved = read_checkpoint(work_dir / "iter_9.pth", trust=False)["message_hub"]["log_scalars"]
    lengths = {name: len(buffer.data[0]) for name, buffer in saved.items()}
    return history, lines, lengths


@pytest.mark.slow
def test_history_log_and_checkpoint_equal_mmengines(world, tmp_path):
    wanted, found = (
        train(hook, world, tmp_path / hook) for hook in ("mmengine.RuntimeInfoHook", OURS)
    )
    assert found == wanted
    history, lines, lengths = found
    assert {len(values) for values, _ in history.values()} >= {12}
    assert len(history["train/loss"][0]) == len(history["train/grad_norm"][0]) == 12
    assert [line["step"] for line in lines if "loss" in line] == [4, 10]
    assert lengths["train/loss"] == lengths["train/grad_norm"] == 9


def test_values_keep_their_order_and_type_but_no_graph():
    hook = DeferredRuntimeInfoHook()
    weight = torch.tensor([2.0], requires_grad=True)
    runner = SimpleNamespace(
        iter=7, max_iters=100, train_dataloader=range(50), hooks=[], optim_wrapper=None
    )
    runner.message_hub = MessageHub.get_instance(f"order {id(hook)}")
    for number in (0.1, 0.2):
        outputs = dict(loss=weight * number, acc=3, other=torch.tensor(number, dtype=torch.float64))
        hook.after_train_iter(runner, 7, outputs=outputs)
    assert not any(isinstance(v, torch.Tensor) and v.requires_grad for _, v in hook.pending)
    assert not runner.message_hub.log_scalars
    hook.flush(runner)
    values = {k: list(b.data[0]) for k, b in runner.message_hub.log_scalars.items()}
    # mmengine reads float32 as the exact value of the rounded number.
    float32 = [(weight.detach() * n).item() for n in (0.1, 0.2)]
    assert values == {"train/loss": float32, "train/acc": [3, 3], "train/other": [0.1, 0.2]}
    assert hook.pending == []
