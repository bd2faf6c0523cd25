"""Detection and segmentation with the tools, and the message for each invalid input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy.ade20k import write_ade20k
from bam_mm.data.toy.coco import write_coco
from bam_mm.protocols.unit_scores import read_units
from bam_mm.registry import MODELS
from tests.end_to_end.running import losses, one_message

ROOT = Path(__file__).resolve().parents[2]
DET = ROOT / "configs/det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy.py"
SEG = ROOT / "configs/seg/vit-toy-p8_upernet_1xb4-400i_toy.py"
LINEAR = ROOT / "configs/seg/vit-toy-p8_linear-head_1xb8-400i_toy.py"
WRITERS = {"coco": write_coco, "ade20k": write_ade20k}
QUICK = ["default_hooks.logger.interval=1", "train_dataloader.batch_size=4"] + [
    f"{part}_dataloader.{setting}"
    for part in ("train", "val", "test")
    for setting in ("num_workers=0", "persistent_workers=False")
]
ONE_EPOCH = [*QUICK, "train_cfg.max_epochs=1", "train_cfg.val_interval=1"]
TWO_STEPS = [*QUICK, "train_cfg.max_iters=2", "train_cfg.val_interval=2"]
TWO_STEPS += ["default_hooks.checkpoint.interval=2"]


@pytest.fixture(autouse=True)
def unformatted_dumps(monkeypatch):
    """mmengine formats each config four times for its log, which takes a second per run."""
    monkeypatch.setattr(Config, "pretty_text", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    for name, write in WRITERS.items():
        write(out / name, seed=0, scale=0.02, progress=lambda *_: None)  # 8 and 4 images
    return out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A BAM checkpoint of the toy pretraining's backbone."""
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    pretraining = ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
    backbone = MODELS.build(Config.fromfile(pretraining).model.backbone)
    backbone.init_weights()
    state = {f"teacher.backbone.{k}": v for k, v in backbone.state_dict().items()}
    path = tmp_path_factory.mktemp("checkpoints") / "bam.pth"
    torch.save({"state_dict": state}, path)
    return path


def test_detection_from_a_bam_checkpoint(world, checkpoint, tool, tmp_path):
    options = [f"data_root={world}/coco", *ONE_EPOCH, f"checkpoint={checkpoint}"]
    code, text, _ = tool("train.py", DET, "--work-dir", tmp_path / "w", options=options)
    assert code == 0, text[-3000:]
    assert "loaded all 54 tensors" in text and "in 12 groups" in text
    assert len(losses(tmp_path / "w")) == 2
    assert "coco/bbox_mAP" in text and "coco/segm_mAP" in text
    weights = read_checkpoint(tmp_path / "w/epoch_1.pth")["state_dict"]
    before = read_checkpoint(checkpoint)["state_dict"]["teacher.backbone.layers.0.ln2.weight"]
    assert 0 < (weights["backbone.layers.0.ln2.weight"] - before).abs().max() < 0.01
    out = tmp_path / "metrics.json"
    code, text, _ = tool(
        "test.py", DET, tmp_path / "w/epoch_1.pth", "--work-dir", tmp_path / "t", "--out", out,
        options=options,
    )  # fmt: skip
    assert code == 0 and "coco/bbox_mAP" in json.loads(out.read_text()), text[-2000:]
    assert len(list((tmp_path / "t/predictions").glob("*.png"))) == 4


@pytest.mark.parametrize("config, frozen", [(SEG, False), (LINEAR, True)])
def test_segmentation_from_a_bam_checkpoint(config, frozen, world, checkpoint, tool, tmp_path):
    options = [f"data_root={world}/ade20k", *TWO_STEPS, f"checkpoint={checkpoint}"]
    code, text, _ = tool("train.py", config, "--work-dir", tmp_path / "w", options=options)
    assert code == 0, text[-3000:]
    assert "loaded all 54 tensors" in text and "mIoU" in text and "mAcc" in text
    assert ("are bit-equal to those before training" in text) == frozen
    weights = read_checkpoint(tmp_path / "w/iter_2.pth")["state_dict"]
    before = read_checkpoint(checkpoint)["state_dict"]
    backbone = {k: v for k, v in weights.items() if k.startswith("backbone.")}
    equal = [torch.equal(v, before[f"teacher.{k}"]) for k, v in backbone.items()]
    assert len(equal) == 54 and (all(equal) if frozen else not all(equal))
    out = tmp_path / "metrics.json"
    code, again, _ = tool(
        "test.py", config, tmp_path / "w/iter_2.pth", "--work-dir", tmp_path / "t", "--out", out,
        options=options,
    )  # fmt: skip
    assert code == 0, again[-2000:]
    metrics = json.loads(out.read_text())
    assert 0 <= metrics["mIoU"] <= 100
    table = read_units(tmp_path / "t/units.npz")  # mmseg rounds to two decimals.
    assert {k: s.value for k, s in table.scores.items()} == pytest.approx(metrics, abs=0.0051)
    assert len(table.names) == 4 == len(list((tmp_path / "t/predictions").glob("*.png")))
    if not frozen:
        # The training can be resumed.
        resumed = [*options, "train_cfg.max_iters=3"]
        code, text, _ = tool(
            "train.py", config, "--work-dir", tmp_path / "w", "--resume", options=resumed
        )
        assert code == 0 and "the backbone is not loaded again" in text, text[-2000:]
        assert len(losses_of_newest(tmp_path / "w")) == 1


def losses_of_newest(work):
    file = max(Path(work).glob("*/vis_data/scalars.json"), key=lambda p: p.stat().st_mtime_ns)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_categories_that_do_not_match_the_head(world, tool, tmp_path):
    options = [f"data_root={world}/coco", *QUICK, "checkpoint=random"]
    result = tool("train.py", DET, "--work-dir", tmp_path, options=[*options, "num_classes=5"])
    one_message(result, "bbox_head.0 has 5 classes", "has 9", "num_classes=9")
    options += ["metainfo.classes=[cat,dog]", "num_classes=2"]
    result = tool("train.py", DET, "--work-dir", tmp_path, options=options)
    one_message(result, "instances_train.json has 9 categories", "(cat, dog)", "num_classes=9")


def test_a_missing_image(world, tool, tmp_path):
    shutil.copytree(world / "coco", tmp_path / "coco")
    (tmp_path / "coco/val/00002.jpg").unlink()
    options = [f"data_root={tmp_path}/coco", *QUICK, "checkpoint=random"]
    result = tool("train.py", DET, "--work-dir", tmp_path / "w", options=options)
    one_message(result, "1 of 4 images of", "instances_val.json are missing", "val/00002.jpg")
    shutil.copytree(world / "ade20k", tmp_path / "ade")
    (tmp_path / "ade/annotations/training/00001.png").unlink()
    options = [f"data_root={tmp_path}/ade", *QUICK, "checkpoint=random"]
    result = tool("train.py", SEG, "--work-dir", tmp_path / "w", options=options)
    one_message(result, "1 of 8 maps", "training/00001.png")


def test_a_label_beyond_the_classes(world, tool, tmp_path):
    shutil.copytree(world / "ade20k", tmp_path / "ade")
    for path in (tmp_path / "ade/annotations/training").iterdir():
        labels = np.array(Image.open(path))
        labels[3, 5] = 11
        Image.fromarray(labels).save(path)
    options = [f"data_root={tmp_path}/ade", *QUICK, "checkpoint=random"]
    result = tool("train.py", SEG, "--work-dir", tmp_path / "w", options=options)
    one_message(result, "has label 11 in 1 pixels, the head knows 1 to 10", "num_classes=11")
    # The same in a worker process, whose exceptions arrive as text.
    options += ["train_dataloader.num_workers=1"]
    result = tool("train.py", SEG, "--work-dir", tmp_path / "w", options=options)
    one_message(result, "has label 11 in 1 pixels")


def test_a_checkpoint_of_another_architecture(world, checkpoint, tool, tmp_path):
    options = [f"data_root={world}/coco", *QUICK, f"checkpoint={checkpoint}"]
    options += ["model.backbone.arch.num_layers=5"]
    result = tool("train.py", DET, "--work-dir", tmp_path, options=options)
    one_message(result, "bam.pth does not hold the config's backbone", "missing: layers.4.")


def test_missing_data(tool, tmp_path):
    options = [f"data_root={tmp_path}/nowhere", *QUICK, "checkpoint=random"]
    for config in (DET, SEG):
        result = tool("train.py", config, "--work-dir", tmp_path / "w", options=options)
        one_message(result, "nowhere of train_dataloader does not exist", "bam-mm toy-world")
