"""Linear probe and fine-tuning with the tools, and the message for each invalid input."""

import json
import re
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import CLASS_NAMES, make_world
from bam_mm.protocols.unit_scores import read_units
from bam_mm.registry import HOOKS, MODELS
from tests.end_to_end.running import losses, one_message

ROOT = Path(__file__).resolve().parents[2]
LINEAR = ROOT / "configs/cls/vit-toy-p8_1xb64-linear-coslr-10e_toy.py"
RESNET = ROOT / "configs/cls/resnet18-w16_1xb128-linear-coslr-4e_cifar10.py"
FINETUNE = ROOT / "configs/cls/vit-toy-p8_1xb64-coslr-4e_toy.py"
FEW = "vit-toy-p8_1xb32-coslr-20e_toy-10percent.py"
FLOWERS = ROOT / "configs/cls/vit-base-p16_8xb16-amp-coslr-100e_flowers.py"
QUICK = [
    "train_dataloader.batch_size=16",
    "train_dataloader.num_workers=0",
    "train_dataloader.persistent_workers=False",
    "val_dataloader.num_workers=0",
    "val_dataloader.persistent_workers=False",
    "test_dataloader.num_workers=0",
    "test_dataloader.persistent_workers=False",
    "default_hooks.logger.interval=1",
]


@pytest.fixture(autouse=True)
def unformatted_dumps(monkeypatch):
    """mmengine formats each config four times for its log, which takes a second per run."""
    monkeypatch.setattr(Config, "pretty_text", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.012)  # 48 training images: 3 iterations an epoch
    (out / "images/test").symlink_to(out / "images/val")
    return out / "images"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Checkpoints of both toy backbones, with statistics that a training step would change."""
    out = tmp_path_factory.mktemp("checkpoints")
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    for name, path in (("vit", LINEAR), ("resnet", RESNET)):
        backbone = MODELS.build(Config.fromfile(path).model.backbone)
        backbone.init_weights()
        state = {f"backbone.{k}": v for k, v in backbone.state_dict().items()}
        torch.save({"state_dict": state}, out / f"{name}.pth")
    return out


@pytest.mark.parametrize("config, name", [(LINEAR, "vit"), (RESNET, "resnet")])
def test_linear_probe_trains_only_the_head(config, name, world, checkpoints, tool, tmp_path):
    options = [
        f"data_root={world}",
        *QUICK,
        "num_classes=9",
        f"checkpoint={checkpoints}/{name}.pth",
    ]
    options += ["train_cfg.max_epochs=6", "train_cfg.val_interval=6"]
    code, text, _ = tool("train.py", config, "--work-dir", tmp_path / "w", options=options)
    assert code == 0, text[-2000:]
    assert "loaded all" in text and "are bit-equal to those before training" in text
    curve = losses(tmp_path / "w")
    assert len(curve) == 18 and np.mean(curve[-3:]) < np.mean(curve[:3]) - 0.1
    before = read_checkpoint(checkpoints / f"{name}.pth")["state_dict"]
    saved = read_checkpoint(tmp_path / "w/epoch_6.pth")
    after = {k: v for k, v in saved["state_dict"].items() if k.startswith("backbone.")}
    assert after.keys() == before.keys()
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert saved["state_dict"]["head.fc.weight"].std() > 0.011
    assert len(saved["frozen_backbone"]) == 64

    # tools/test.py reproduces the accuracy of the last validation.
    out = tmp_path / "metrics.json"
    code, again, _ = tool(
        "test.py", config, tmp_path / "w/epoch_6.pth", "--work-dir", tmp_path / "t",
        "--out", out, options=options,
    )  # fmt: skip
    assert code == 0, again[-2000:]
    online = float(re.findall(r"Epoch\(val\) \[6\].*accuracy/top1: (\S+)", text)[-1])
    metrics = json.loads(out.read_text())
    assert metrics["accuracy/top1"] == pytest.approx(online, abs=1e-4)
    table = read_units(tmp_path / "t/units.npz")
    assert {k: s.value for k, s in table.scores.items()} == pytest.approx(metrics, abs=1e-4)
    files = {str(path.relative_to(world / "val")) for path in (world / "val").rglob("*.jpg")}
    assert {*table.names} == files and len(table.names) == len(files)

    if name == "vit":
        # A resumed run requires the same backbone.
        saved["state_dict"]["backbone.cls_token"] += 1e-3
        torch.save(saved, tmp_path / "w/epoch_6.pth")
        resumed = tool(
            "train.py", config, "--work-dir", tmp_path / "w", "--resume",
            options=[*options, "train_cfg.max_epochs=7"],
        )  # fmt: skip
        one_message(resumed, "trained on another backbone than it holds now")


def test_fine_tuning_moves_the_loaded_backbone(world, checkpoints, tool, tmp_path):
    options = [f"data_root={world}", *QUICK, f"checkpoint={checkpoints}/vit.pth"]
    options += ["train_cfg.max_epochs=1"]
    code, text, _ = tool("train.py", FINETUNE, "--work-dir", tmp_path, options=options)
    assert code == 0 and "loaded all" in text, text[-2000:]
    before = read_checkpoint(checkpoints / "vit.pth")["state_dict"]["backbone.layers.0.ln1.weight"]
    after = read_checkpoint(tmp_path / "epoch_1.pth")["state_dict"]["backbone.layers.0.ln1.weight"]
    # After three steps of warm-up, the weights have changed, but only slightly.
    assert 0 < (after - before).abs().max() < 0.01


def test_a_checkpoint_with_code_needs_the_flag(world, checkpoints, tool, tmp_path):
    state = read_checkpoint(checkpoints / "vit.pth")["state_dict"]
    torch.save({"state_dict": state, "made by": Fraction(1, 2)}, tmp_path / "code.pth")
    options = [f"data_root={world}", *QUICK, f"checkpoint={tmp_path}/code.pth"]
    options += ["train_cfg.max_epochs=1"]
    command = ["train.py", LINEAR, "--work-dir", tmp_path / "w"]
    one_message(tool(*command, options=options), "code.pth is not read", "--trust-checkpoint")
    code, text, _ = tool(*command, "--trust-checkpoint", options=options)
    assert code == 0 and "loaded all" in text, text[-2000:]
    pretraining = ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
    result = tool("train.py", pretraining, "--work-dir", tmp_path / "p", "--trust-checkpoint")
    one_message(result, "--trust-checkpoint", "starts from no checkpoint", "leave the flag out")


def test_a_changed_tensor_of_the_frozen_backbone_stops_the_run(world, tool, tmp_path):
    @HOOKS.register_module(name="TouchBackbone", force=True)
    class TouchBackbone(HOOKS.get("mmengine.SyncBuffersHook")):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.model.backbone.bn1.running_var[0] += 1e-6

    config = tmp_path / "touched.py"
    config.write_text(
        f'_base_ = "{RESNET}"\n'
        'custom_hooks = [*_base_.custom_hooks, dict(type="bam_mm.TouchBackbone")]\n'
    )
    options = [f"data_root={world}", *QUICK, "num_classes=9", "checkpoint=random"]
    result = tool("train.py", config, "--work-dir", tmp_path / "w", options=options)
    one_message(result, "iteration 3", "1 of its tensors", "backbone.bn1.running_var")
    assert not list((tmp_path / "w").glob("epoch_*.pth"))


def test_no_checkpoint(world, tool, tmp_path):
    options = [f"data_root={world}", *QUICK]
    result = tool("train.py", LINEAR, "--work-dir", tmp_path, options=options)
    one_message(result, "no checkpoint", "checkpoint=PATH", "checkpoint=random")
    # With --resume but nothing to resume from, the backbone would be random as well.
    result = tool("train.py", LINEAR, "--work-dir", tmp_path / "r", "--resume", options=options)
    one_message(result, "no checkpoint")
    # mmengine's load_from would skip tensors that do not match.
    options += ["checkpoint=random", f"load_from={tmp_path}/x.pth"]
    torch.save({"state_dict": {"nothing": torch.zeros(1)}}, tmp_path / "x.pth")
    result = tool("train.py", LINEAR, "--work-dir", tmp_path, options=options)
    one_message(result, "load_from=", "skip the rest", "checkpoint=PATH")


def test_a_head_of_the_wrong_size(world, tool, tmp_path):
    options = [f"data_root={world}", *QUICK, "checkpoint=random", "num_classes=10"]
    result = tool("train.py", LINEAR, "--work-dir", tmp_path, options=options)
    one_message(result, "head has 10 outputs", "has 9 classes", "num_classes=9")
    options = [f"data_root={world}", *QUICK, "checkpoint=random", "model.head.in_channels=96"]
    result = tool("train.py", LINEAR, "--work-dir", tmp_path, options=options)
    one_message(result, "192 wide, the head takes 96", "model.neck.input_features=192")


def test_labels_out_of_range(world, tool, tmp_path):
    paths = sorted((world / "train").rglob("*.jpg"))[:20]
    lines = [f"{p.relative_to(world / 'train')} {n % 10}" for n, p in enumerate(paths)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    options = [f"data_root={world}", *QUICK, "checkpoint=random"]
    options += [f"train_dataloader.dataset.ann_file={tmp_path}/list.txt"]
    result = tool("train.py", LINEAR, "--work-dir", tmp_path, options=options)
    one_message(result, "2 labels of the train data", paths[9].name, "has label 9", "knows 0 to 8")


def test_faulty_images_and_folders(world, tool, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(world, copy, symlinks=True)
    options = [f"data_root={copy}", *QUICK, "checkpoint=random"]
    victim = sorted((copy / "train" / CLASS_NAMES[0]).iterdir())[0]
    whole = victim.read_bytes()
    victim.write_bytes(whole[:300])
    result = tool("train.py", LINEAR, "--work-dir", tmp_path / "w", options=options)
    one_message(result, victim.name, "truncated")
    code, text, _ = tool("check_data.py", "folder", copy, "--deep")
    assert code == 1 and f"{victim} is truncated" in text and "fix: replace" in text
    victim.write_bytes(whole)

    (copy / "val" / CLASS_NAMES[2]).rename(tmp_path / "away")
    result = tool("train.py", LINEAR, "--work-dir", tmp_path / "w", options=options)
    one_message(result, "different classes", f"only in train: {CLASS_NAMES[2]}", "check-data")
    (copy / "val" / CLASS_NAMES[2]).mkdir()
    result = tool("train.py", LINEAR, "--work-dir", tmp_path / "w", options=options)
    one_message(result, "without an image", CLASS_NAMES[2])

    large_batch = [*options, "train_dataloader.batch_size=64"]
    shutil.rmtree(copy / "val")
    shutil.copytree(world / "val", copy / "val")
    result = tool("train.py", LINEAR, "--work-dir", tmp_path / "w", options=large_batch)
    one_message(result, "an epoch has no iteration", "48 training images", "batch of 64")


def test_an_incomplete_data_set(tool, tmp_path):
    (tmp_path / "jpg").mkdir()
    for number in range(4000):
        (tmp_path / f"jpg/image_{number:05d}.jpg").touch()
    result = tool(
        "train.py", FLOWERS, "--work-dir", tmp_path / "w",
        options=[f"data_root={tmp_path}", "checkpoint=random"],
    )  # fmt: skip
    one_message(result, "flowers: 4,000 of 8,189 images", "102flowers.tgz", "check-data flowers")
    code, text, _ = tool("check_data.py", "flowers", tmp_path)
    assert code == 1 and text.count("FAULT") == 3 and "setid.mat is missing" in text
    one_message(tool("check_data.py", "flours", tmp_path), "'flours': choose one of imagenet")


def test_semi_supervised_from_a_balanced_list(world, checkpoints, tool, tmp_path):
    copy = tmp_path / "images"
    shutil.copytree(world, copy, symlinks=True)
    config = ROOT / "configs/cls" / FEW
    options = [f"data_root={copy}", *QUICK, f"checkpoint={checkpoints}/vit.pth"]
    options += ["train_cfg.max_epochs=1", "train_dataloader.batch_size=3"]
    result = tool("train.py", config, "--work-dir", tmp_path / "w", options=options)
    one_message(result, "balanced_10percent_seed0.txt does not exist", f"bam-mm subset {copy}")
    code, text, _ = tool("make_subset.py", copy, "--percent", 10)
    assert code == 0 and "balanced_10percent_seed0.txt: 9 images" in text
    code, text, _ = tool("train.py", config, "--work-dir", tmp_path / "w", options=options)
    assert code == 0 and len(losses(tmp_path / "w")) == 3, text[-2000:]
    one_message(tool("make_subset.py", copy, "--percent", 0), "--percent 0")
