"""Configs of pure Python (types are classes, bases by ``read_base()``) in this package's tools."""

import pytest
import torch
from mmengine.config import Config

from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.checkpoint.sources import parse_backbone
from bam_mm.data.toy import make_world
from tests.end_to_end.running import lay_out_quickly, one_message

COMMON = """
from mmengine.dataset import DefaultSampler, default_collate
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.datasets import CenterCrop, PackInputs, ResizeEdge
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import LinearClsHead, MoCoV3ViT
from torch.optim import SGD
from bam_mm.data import ImageFolder, LoadImage, MultiCrop
from bam_mm.hooks import (
    CheckConfigHook, CollapseMonitorHook, FrozenBackboneHook, LoadBackboneHook, OnlineKNNHook,
    TeacherUpdateHook, WholeCheckpointHook,
)
from bam_mm.models import BAM, BAMHead, BAMProjector, FrozenBackboneClassifier
from bam_mm.models import MultiViewPreprocessor
from bam_mm.optim import StudentOptimWrapperConstructor
from bam_mm.protocols import KNNTestLoop

default_scope = 'mmpretrain'
data_root = 'nowhere'
backbone = dict(
    type=MoCoV3ViT, img_size=48, patch_size=8,
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=24),
)
pipeline = [
    dict(type=LoadImage), dict(type=ResizeEdge, scale=54), dict(type=CenterCrop, crop_size=48),
    dict(type=PackInputs, meta_keys=('sample_idx', 'img_path')),
]
loader = dict(batch_size=20, num_workers=0, collate_fn=dict(type=default_collate))
train_dataloader = dict(
    **loader, sampler=dict(type=DefaultSampler, shuffle=True), drop_last=True,
    dataset=dict(type=ImageFolder, data_root=data_root, split='train', pipeline=pipeline),
)
images = dict(
    **loader, dataset=dict(type=ImageFolder, data_root=data_root, split='val', pipeline=pipeline)
)
test_dataloader = images
test_evaluator = dict(type=Accuracy, topk=(1, 5))
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.1))
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=1)
default_hooks = dict(
    config=dict(type=CheckConfigHook), checkpoint=dict(type=WholeCheckpointHook),
)
"""
PRETRAINING = """
from mmengine.config import read_base
with read_base():
    from .common import *
layout = dict(num_global=2, num_local=0, global_size=48)
train_dataloader.dataset.pipeline = [
    dict(type=LoadImage), dict(type=MultiCrop, layout=layout),
    dict(type=PackInputs, meta_keys=('sample_idx', 'img_path', 'photometric_place')),
]
model = dict(
    type=BAM, backbone=backbone, layout=layout, head=dict(type=BAMHead),
    neck=dict(type=BAMProjector, in_channels=24, hid_channels=32, out_channels=32),
    data_preprocessor=dict(type=MultiViewPreprocessor, layout=layout),
)
optim_wrapper.constructor = StudentOptimWrapperConstructor
custom_hooks = [
    dict(type=TeacherUpdateHook), dict(type=CollapseMonitorHook, interval=1),
    dict(type=OnlineKNNHook, bank=images, queries=images, k=5, interval=1, bank_fraction=1.0),
]
test_cfg = dict(type=KNNTestLoop, bank=images, k=[5])
"""
PROBE = """
from mmengine.config import read_base
with read_base():
    from .common import *
checkpoint = None
branch = 'teacher'
data_preprocessor = dict(num_classes=9, mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True)
model = dict(
    type=FrozenBackboneClassifier, backbone=backbone,
    head=dict(type=LinearClsHead, num_classes=9, in_channels=24),
)
train_dataloader.dataset.pipeline = pipeline[:-1] + [dict(type=PackInputs)]
test_dataloader.dataset.pipeline = pipeline[:-1] + [dict(type=PackInputs)]
test_cfg = dict()
custom_hooks = [dict(type=LoadBackboneHook), dict(type=FrozenBackboneHook)]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pure")
    make_world(folder / "toy", scale=0.01)
    for name, text in (("common", COMMON), ("pretraining", PRETRAINING), ("probe", PROBE)):
        (folder / f"{name}.py").write_text(text)
    return folder


def weights(path):
    return read_checkpoint(path)["state_dict"]


def test_pretraining_resumes_from_its_copy_and_a_probe_starts_from_it(
    folder, tool, tmp_path, monkeypatch
):
    lay_out_quickly(monkeypatch)
    work, data = tmp_path / "bam", f"data_root={folder / 'toy/images'}"
    options = [data, "model.head.temperature=0.3", "layout.global_size=48"]
    code, text, _ = tool("train.py", folder / "pretraining.py", "--work-dir", work, options=options)
    assert code == 0 and "kNN after 2 iterations (k=5, " in text, text[-2000:]
    copy = Config.fromfile(str(work / "pretraining.py"))
    assert copy.model.type == "bam_mm.models.BAM" and copy.model.head.temperature == 0.3
    # The copy in the work folder has the options, and types by their places.
    code, text, _ = tool(
        "train.py", work / "pretraining.py", "--work-dir", work, "--resume",
        options=["train_cfg.max_epochs=2"],
    )  # fmt: skip
    assert code == 0 and "Epoch(train) [2][2/2]" in text, text[-2000:]
    code, text, _ = tool(
        "test.py", folder / "pretraining.py", work / "epoch_2.pth", "--work-dir", tmp_path / "knn",
        options=[data],
    )  # fmt: skip
    assert code == 0 and "knn_k5/top1: " in text, text[-2000:]

    probe, epoch = tmp_path / "probe", work / "epoch_2.pth"
    assert parse_backbone(f"bam:{epoch}").config["type"] == "mmpretrain.MoCoV3ViT"
    run = ("train.py", folder / "probe.py", "--work-dir", probe)
    one_message(tool(*run, options=[data]), "no checkpoint: this protocol scores")
    code, text, _ = tool(*run, options=[data, f"checkpoint={epoch}"])
    assert code == 0 and "frozen: all 30 tensors" in text, text[-2000:]
    key = "backbone.layers.1.attn.qkv.weight"
    assert torch.equal(weights(probe / "epoch_1.pth")[key], weights(epoch)[f"teacher.{key}"])
    code, text, _ = tool(
        "test.py", probe / "probe.py", probe / "epoch_1.pth", "--work-dir", tmp_path / "test"
    )
    assert code == 0 and "accuracy/top1: " in text, text[-2000:]


@pytest.mark.parametrize(
    "option, words",
    [
        ("modell.x=1", "did you mean model?"),
        ("model.backbone.img_sise=4", "did you mean model.backbone.img_size?"),
        ("data_rot=x", "did you mean data_root?"),
        (
            "train_dataloader.batch_size=1",
            "BAM compares the images of the batch; set it to at least 2",
        ),
        ("data_root=elsewhere", "elsewhere"),
    ],
)
def test_options_that_do_not_fit_have_the_same_messages(option, words, folder, tool, tmp_path):
    run = tool("train.py", folder / "pretraining.py", "--work-dir", tmp_path, options=[option])
    one_message(run, words)
