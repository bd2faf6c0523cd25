"""MAE and BEiT: trained in the toy world, resumed exactly, and scored on whole images."""

import copy
import json
import math
from argparse import Namespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope

from bam_mm import InputError
from bam_mm.checkpoint import parse_backbone, read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import build_runner
from bam_mm.launch.testing import test as run_test
from bam_mm.launch.training import train
from bam_mm.registry import HOOKS
from bam_mm.suite.fitting import fit
from bam_mm.suite.models import read_models
from tests.end_to_end.running import forget_earlier_runs, lay_out_quickly
from tests.end_to_end.test_exact_resume import differences
from tests.pages import ROOT

pytestmark = pytest.mark.slow

CONFIGS = ROOT / "configs/methods"
KNN = ROOT / "configs/cls/vit-toy-p8_knn_toy.py"
METHODS = ("mae", "beit")
STEPS = 3


@HOOKS.register_module(force=True)
class StopBetweenEpochs(Hook):
    """Stop after some epochs, as a kill between two epochs does."""

    priority = "VERY_LOW"

    def __init__(self, epochs):
        self.epochs = epochs

    def before_train_epoch(self, runner):
        if runner.epoch == self.epochs:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def quickly():
    with pytest.MonkeyPatch.context() as patch:
        lay_out_quickly(patch)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.012)  # 48 training images: three iterations an epoch
    # The CIFAR configs call their second split "test".
    (out / "images/test").symlink_to(out / "images/val")
    return out / "images"


def loaders(**options):
    return {f"{name}.num_workers": 0 for name in ("knn_bank", "knn_queries")} | {
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        **options,
    }


def run(method, world, work, *, epochs=2, resume=False, workers=0):
    """Train a method of which one run has two epochs, and stop after ``epochs``."""
    forget_earlier_runs()
    path = CONFIGS / f"{method}_vit-toy-p8_1xb64-coslr-2e_toy.py"
    options = loaders(
        data_root=str(world),
        work_dir=str(work),
        **{"train_dataloader.batch_size": 16, "default_hooks.logger.interval": 1},
    )
    options["train_dataloader.num_workers"] = workers
    config = load_config(path, options)
    for hook in config.custom_hooks:
        if hook.type == "bam_mm.OnlineKNNHook":
            hook.update(k=5, bank_fraction=1.0)
    args = Namespace(
        config=str(path), work_dir=str(work), launcher="none", amp=False,
        resume="auto" if resume else None, auto_scale_lr=False,
    )  # fmt: skip
    if epochs < 2:
        config.custom_hooks.append(dict(type="bam_mm.StopBetweenEpochs", epochs=epochs))
        with pytest.raises(KeyboardInterrupt):
            train(config, args)
    else:
        train(config, args)
    return read_checkpoint(work / f"epoch_{epochs}.pth")


def logged(work):
    files = sorted(work.glob("*/vis_data/scalars.json"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def scored(config, path, checkpoint, work):
    """Return the score of ``bam-mm test``."""
    forget_earlier_runs()
    args = Namespace(
        config=str(path), work_dir=str(work), launcher="none", out=None,
        checkpoint=str(checkpoint), cfg_options=[],
    )  # fmt: skip
    return run_test(config, args)["knn_k5/top1"]


@pytest.mark.parametrize("method", METHODS)
def test_two_epochs_resumed_and_scored(method, world, tmp_path):
    straight = run(method, world, tmp_path / "straight")
    lines = logged(tmp_path / "straight")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert len(losses) == 2 * STEPS and all(math.isfinite(loss) for loss in losses)
    online = [line["knn/student_top1"] for line in lines if "knn/student_top1" in line]
    assert len(online) == 3  # Before the training and after each epoch.
    if method == "beit":
        assert straight["state_dict"]["target_generator.fitted"]
        # The first loss is that of guessing among the words.
        assert losses[0] == pytest.approx(math.log(256), abs=0.5)

    # Stopped after an epoch and resumed: bit-equal, with a worker instead of none.
    first = run(method, world, tmp_path / "resumed", epochs=1)
    resumed = run(method, world, tmp_path / "resumed", resume=True, workers=1)
    for part in ("state_dict", "optimizer", "param_schedulers", "random_states"):
        assert differences(straight[part], resumed[part], part) == []
    assert differences(straight["state_dict"], first["state_dict"])

    # Scored in other ways: the same accuracy as the online kNN's last, on the same features.
    checkpoint = tmp_path / "straight/epoch_2.pth"
    options = {
        "data_root": str(world), "test_cfg.k": [5], "test_cfg.bank.num_workers": 0,
        "test_cfg.cache_dir": None,
        "test_dataloader.num_workers": 0, "test_dataloader.persistent_workers": False,
    }  # fmt: skip
    own = CONFIGS / f"{method}_vit-toy-p8_1xb64-coslr-2e_toy.py"
    knn = dict(options)
    if method == "beit":
        knn |= {
            "model.backbone.type": "mmpretrain.BEiTViT", "model.backbone.final_norm": True,
            "model.backbone.out_type": "raw", "model.feature": "mean",
        }  # fmt: skip
    scores = [
        scored(load_config(path, found), path, checkpoint, tmp_path / f"test {number}")
        for number, (path, found) in enumerate(((own, options), (KNN, knn)))
    ]
    # As the benchmark does with --model x=bam:PATH.
    config = load_config(KNN, options)
    [model] = read_models([f"x=bam:{checkpoint}"])
    notes = fit(config, model)
    assert ("feature: cls -> mean" in notes) == (method == "beit")
    scores.append(scored(config, KNN, checkpoint, tmp_path / "bench"))
    proof = json.loads((tmp_path / "bench/loaded_backbone.json").read_text())
    assert proof["loaded"] and proof["prefix"] == "backbone."
    assert "moving average" not in proof["layout"]
    assert scores == pytest.approx([online[-1]] * 3, abs=1e-3)


def test_a_branch_that_the_method_lacks(world, tmp_path):
    forget_earlier_runs()
    path = CONFIGS / "mae_vit-toy-p8_1xb64-coslr-2e_toy.py"
    options = loaders(data_root=str(world), work_dir=str(tmp_path))
    options |= {"test_cfg.branch": "teacher", "test_cfg.k": [5], "test_dataloader.num_workers": 0}
    runner = build_runner(load_config(path, options))
    with pytest.raises(InputError, match=r"branch='teacher': MAE has student; set test_cfg.bran"):
        runner.test()


def test_the_recorded_backbone_sees_whole_images(tmp_path):
    init_default_scope("mmpretrain")
    for method, kind in (("mae", "VisionTransformer"), ("beit", "BEiTViT")):
        path = CONFIGS / f"{method}_vit-toy-p8_1xb64-coslr-2e_toy.py"
        config = load_config(path)
        meta = {"cfg": config.pretty_text}
        torch.save({"state_dict": {}, "meta": meta}, tmp_path / "c.pth")
        found = parse_backbone(f"bam:{tmp_path / 'c.pth'}").config
        assert found["type"] == f"mmpretrain.{kind}" and found["img_size"] == 48


SCALES = (
    "vit-tiny-p4_1xb512-amp-coslr-200e_cifar10",
    "vit-toy-p4_1xb256-coslr-5e_cifar10",
    "vit-small-p16_8xb256-amp-coslr-100e_in1k",
)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("method", METHODS)
def test_other_configs_train_for_one_iteration(method, scale, world, tmp_path):
    forget_earlier_runs()
    options = loaders(
        data_root=str(world),
        work_dir=str(tmp_path),
        **{"train_dataloader.batch_size": 2, "train_cfg.max_epochs": 1},
        **{"train_dataloader.dataset.indices": 2},
    )
    config = load_config(CONFIGS / f"{method}_{scale}.py", options)
    gpus, batch = (int(x) for x in scale.split("_")[1].split("-")[0].split("xb"))
    rate = {"mae": 1.5e-4 / 256, "beit": 1.5e-3 / 2048}[method] * gpus * batch
    if "toy" not in scale:
        assert config.optim_wrapper.optimizer.lr == pytest.approx(rate)
        assert config.auto_scale_lr.base_batch_size == gpus * batch
    config.default_hooks.checkpoint = None
    config.model.backbone.arch.num_layers = 2
    if method == "mae":
        config.model.neck.decoder_depth = 1
    config.custom_hooks = [h for h in config.custom_hooks if "VisualWords" in h.type]
    tokenizer = config.model.get("target_generator")
    if tokenizer and tokenizer.type == "DALL-E":
        # Its weights would be downloaded.
        tokenizer.update(init_cfg=None, n_hid=16, n_blk_per_group=1)
    elif tokenizer:
        tokenizer.num_words = config.model.head.num_embed = 32
    runner = build_runner(config)
    before = copy.deepcopy(runner.model.backbone.state_dict())
    runner.train()
    assert runner.iter == 1
    assert math.isfinite(runner.message_hub.get_scalar("train/loss").current())
    assert differences(before, runner.model.backbone.state_dict())
    frozen = [n for n, p in runner.model.backbone.named_parameters() if not p.requires_grad]
    assert frozen == (["pos_embed"] if method == "mae" else [])
