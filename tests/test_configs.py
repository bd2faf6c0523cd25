"""Every config in the repository: it builds, and runs one iteration at reduced size."""

import ast
import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm.data.toy import make_world
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner

ROOT = Path(__file__).resolve().parents[1]
PRETRAIN = sorted((ROOT / "configs/pretrain").glob("*.py"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.01)
    # The CIFAR configs call their second split "test".
    (out / "images/test").symlink_to(out / "images/val")
    return out / "images"


def parents(config_file, depth=1):
    """Depth of the inheritance of a config file, itself included."""
    found = re.search(r"^_base_ = (.*)$", config_file.read_text(), flags=re.MULTILINE)
    bases = ast.literal_eval(found[1]) if found else []
    bases = [bases] if isinstance(bases, str) else bases
    return max([depth, *(parents((config_file.parent / b).resolve(), depth + 1) for b in bases)])


def test_there_are_configs():
    assert len(PRETRAIN) >= 5


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.py")), ids=lambda p: p.stem)
def test_inheritance_is_at_most_three_levels(path):
    assert parents(path) <= 3


@pytest.mark.parametrize("path", PRETRAIN, ids=lambda p: p.stem)
def test_pretraining_config_runs_one_iteration(path, images, tmp_path):
    options = {
        "data_root": str(images),
        "train_dataloader.batch_size": 2,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_dataloader.dataset.indices": 2,
        "train_cfg.max_epochs": 1,
        "work_dir": str(tmp_path),
    }
    config = load_config(path, options)
    # Three matrices of 4096 x 4096, twice, would be most of the test's time and memory.
    wide = config.model.neck.hid_channels
    config.model.neck.update(hid_channels=min(wide, 256), out_channels=min(wide, 256))
    config.custom_hooks = [h for h in config.custom_hooks if "KNN" not in h.type]
    config.default_hooks.checkpoint = None
    runner = build_runner(config)
    moved = {
        k: v.clone() for k, v in runner.model.named_parameters() if v.requires_grad and v.ndim > 1
    }
    runner.train()
    assert runner.iter == 1
    loss = runner.message_hub.get_scalar("train/loss").current()
    assert torch.isfinite(torch.tensor(loss))
    now = dict(runner.model.named_parameters())
    assert all(torch.isfinite(p).all() for p in now.values())
    assert any(not torch.equal(now[k], v) for k, v in moved.items())


@pytest.mark.parametrize("path", PRETRAIN, ids=lambda p: p.stem)
def test_names_say_what_the_config_holds(path):
    config = load_config(path)
    name = path.stem
    gpus, batch = (int(x) for x in name.split("_")[2].split("-")[0].split("xb"))
    assert config.train_dataloader.batch_size == batch
    if "auto_scale_lr" in config:
        assert config.auto_scale_lr.base_batch_size == gpus * batch
    assert f"{config.train_cfg.max_epochs}e" in name
    assert ("amp" in name) == (config.optim_wrapper.type == "AmpOptimWrapper")


def settings(stem):
    return load_config(ROOT / f"configs/pretrain/{stem}.py")


def test_the_papers_table_9a():
    config = settings("bam_vit-base-p16_16xb256-amp-coslr-300e_in1k")
    assert config.optim_wrapper.optimizer.lr == 3e-3
    assert config.optim_wrapper.clip_grad.max_norm == 0.3
    warmup, cosine, decay = config.param_scheduler
    assert (warmup.end, cosine.begin, cosine.end) == (40, 40, 300)
    assert (config.optim_wrapper.optimizer.weight_decay, decay.eta_min) == (0.04, 0.4)
    assert dict(config.layout) == dict(num_global=2, num_local=6, global_size=224, local_size=96)
    assert config.model.neck.hid_channels == config.model.neck.out_channels == 4096
    assert (config.model.head.temperature, config.model.head.target_temperature) == (0.1, 0.05)


@pytest.mark.parametrize(
    "stem,heads,width,depth,millions",
    [
        ("bam_vit-small-p16_16xb256-amp-coslr-300e_in1k", 12, 384, 12, 21.6655),
        ("bam_vit-base-p16_16xb256-amp-coslr-300e_in1k", 12, 768, 12, 85.7987),
    ],
)
def test_vit_sizes(stem, heads, width, depth, millions):
    from mmpretrain.registry import MODELS

    config = settings(stem)
    init_default_scope("mmpretrain")
    backbone = MODELS.build(config.model.backbone)
    assert len(backbone.layers) == depth and backbone.embed_dims == width
    assert backbone.layers[0].attn.num_heads == heads
    # By hand: patches 768w + w, class token w, positions 197w, blocks 12 (12w^2 + 13w), norm 2w.
    by_hand = (
        768 * width + width + width + 197 * width + 12 * (12 * width**2 + 13 * width) + 2 * width
    )
    count = sum(p.numel() for p in backbone.parameters())
    assert count == by_hand
    assert count / 1e6 == pytest.approx(millions, abs=1e-3)
    assert not backbone.patch_embed.projection.weight.requires_grad
