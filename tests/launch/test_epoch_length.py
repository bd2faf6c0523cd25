"""The steps of an epoch, and the images it leaves out or repeats, equal those of the loaders."""

import itertools
from argparse import Namespace
from collections import Counter
from pathlib import Path

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from bam_mm import InputError, RepeatAugSampler
from bam_mm.data.toy import make_world
from bam_mm.launch.config import load_config
from bam_mm.launch.epoch_length import measure_epoch, report_epoch
from bam_mm.launch.training import train
from tests.data.test_samplers import sampler_of

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = itertools.count()
TOY = ROOT / "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"


def loaders(kind, images, batch, processes, monkeypatch, *, drop_last=True, **options):
    return [
        DataLoader(
            range(images),
            batch_size=batch,
            drop_last=drop_last,
            sampler=sampler_of(kind, range(images), monkeypatch, rank, processes, **options),
        )
        for rank in range(processes)
    ]


@pytest.mark.parametrize("processes", [1, 3, 8])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(
    "kind, options",
    [
        (DefaultSampler, {}),
        (DefaultSampler, dict(round_up=False)),
        (RepeatAugSampler, dict(num_repeats=3)),
        (RepeatAugSampler, dict(num_repeats=1)),
    ],
)
@pytest.mark.parametrize("images", [96, 101, 127])
def test_lengths_are_those_of_the_loaders(kind, options, images, processes, drop_last, monkeypatch):
    # Without rounding up, processes of a real run would have different numbers of batches.
    if options.get("round_up") is False and images % processes and drop_last:
        images -= images % processes
    parts = loaders(kind, images, 4, processes, monkeypatch, drop_last=drop_last, **options)
    seen = Counter(int(index) for part in parts for batch in part.batch_sampler for index in batch)
    epoch = measure_epoch(parts[0], processes)
    assert epoch.steps == epoch.iterations == len(parts[0])
    assert (epoch.visits, epoch.visited) == (sum(seen.values()), len(seen))


@pytest.mark.parametrize(
    "images, batch, repeats, steps, left_out, repeated",
    [
        (2040, 128, None, 1, 1016, 0),  # Flowers at 8 x 128
        (2040, 16, None, 15, 120, 0),  # Flowers at 8 x 16
        (3680, 16, None, 28, 96, 0),  # Pets at 8 x 16
        (50000, 128, None, 48, 848, 0),  # CIFAR
        (12811, 64, 3, 25, 8544, 8533),  # 1 % of ImageNet, three copies of an image
    ],
)
def test_known_data_sets_on_eight_gpus(
    images, batch, repeats, steps, left_out, repeated, monkeypatch
):
    kind = RepeatAugSampler if repeats else DefaultSampler
    options = dict(num_repeats=repeats) if repeats else {}
    epoch = measure_epoch(loaders(kind, images, batch, 8, monkeypatch, **options)[0], 8)
    assert epoch.steps == steps
    text = epoch.describe()
    assert text.startswith(f"an epoch has {steps} step{'s' * (steps > 1)} of {8 * batch:,} images")
    assert f"({batch} x 8 processes): it leaves out {left_out:,} of {images:,} images" in text
    assert f"and {repeated:,} of its {steps * 8 * batch:,} visits repeat an image" in text


def test_accumulation_and_unknown_samplers():
    loader = DataLoader(range(100), batch_size=8)
    epoch = measure_epoch(loader, accumulated=4)
    assert (epoch.iterations, epoch.steps, epoch.visited) == (13, 3, None)
    assert epoch.describe() == (
        "an epoch has 3 steps of 32 images (8 x 1 process x 4 iterations): 100 visits of 100 images"
    )
    # A batch sampler as in mmdet's configs.
    batches = BatchSampler(SequentialSampler(range(50)), 8, drop_last=True)
    epoch = measure_epoch(DataLoader(range(50), batch_sampler=batches))
    assert (epoch.batch, epoch.steps, epoch.visits) == (8, 6, 48)


def report(tmp_path, monkeypatch, *, count=36, batch=12, iters=None, processes=1, **settings):
    """Return the messages of a run on ``count`` images, by level."""
    sampler = InfiniteSampler if iters else DefaultSampler
    loop = dict(by_epoch=False, max_iters=iters) if iters else dict(by_epoch=True, max_epochs=1)
    loader = loaders(sampler, count, batch, processes, monkeypatch)[0]
    runner = Runner(
        model=nn.Linear(1, 1),
        work_dir=str(tmp_path),
        train_dataloader=loader,
        train_cfg=loop,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.8)),
        experiment_name=f"{tmp_path.name}-{next(NUMBERS)}",
        cfg=dict(**settings),
    )
    runner._world_size = processes
    found = {"info": [], "warning": []}
    for level, texts in found.items():
        monkeypatch.setattr(runner.logger, level, lambda text, texts=texts: texts.append(str(text)))
    report_epoch(runner)
    return found["info"], found["warning"]


def test_ten_steps_are_enough(tmp_path, monkeypatch):
    info, warning = report(tmp_path, monkeypatch, count=40, batch=4)
    assert info[0].startswith("an epoch has 10 steps of 4 images") and not warning
    info, warning = report(tmp_path, monkeypatch, count=39, batch=4)
    assert info[0].startswith("an epoch has 9 steps of 4 images (4 x 1 process): it leaves out 3")
    assert len(warning) == 1 and "batch_size=4 on 1 process leaves 9 steps" in warning[0]
    assert "set --cfg-options train_dataloader.batch_size=2" in warning[0]
    assert "multiply the learning rate by 0.5, unless" in warning[0]


def test_the_remedy_leads_to_ten_steps(tmp_path, monkeypatch):
    scaled = dict(auto_scale_lr=dict(base_batch_size=1024))
    info, warning = report(tmp_path, monkeypatch, count=2040, batch=128, processes=8, **scaled)
    assert "1 step of 1,024 images (128 x 8 processes)" in info[0]
    assert "batch_size=16 and lower the learning rate accordingly with --auto-scale" in warning[0]
    assert report(tmp_path, monkeypatch, count=2040, batch=16, processes=8, **scaled)[1] == []
    scaled["auto_scale_lr"]["enable"] = True
    warning = report(tmp_path, monkeypatch, count=2040, batch=128, processes=8, **scaled)[1]
    assert "batch_size=16 and --auto-scale-lr lowers the learning rate accordingly" in warning[0]
    warning = report(
        tmp_path, monkeypatch, count=90, batch=4, optim_wrapper=dict(accumulative_counts=4)
    )[1]
    assert "leaves 5 steps in an epoch of 90 images" in warning[0]
    assert "batch_size=2 and multiply the learning rate by 0.5" in warning[0]
    warning = report(tmp_path, monkeypatch, count=30, batch=1, processes=8)[1]
    assert "batch_size=1 on 8 processes leaves 4 steps" in warning[0]
    assert "train on more images or fewer processes" in warning[0]


def test_iteration_based_runs_have_no_epochs(tmp_path, monkeypatch):
    assert report(tmp_path, monkeypatch, count=4, batch=4, iters=5) == ([], [])


@pytest.mark.slow
def test_a_training_reports_its_epochs_and_refuses_empty_ones(tmp_path, monkeypatch):
    make_world(tmp_path / "world", scale=0.012)  # 48 training images

    def start(batch):
        # Stop where the training would start.
        monkeypatch.setattr(Runner, "train", lambda self: None)
        options = {
            "data_root": str(tmp_path / "world/images"),
            "train_dataloader.batch_size": batch,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
        }
        args = Namespace(
            config=str(TOY), work_dir=str(tmp_path / f"run{batch}"), launcher="none", amp=False,
            resume=None, auto_scale_lr=False,
        )  # fmt: skip
        train(load_config(TOY, options), args)
        return next((tmp_path / f"run{batch}").glob("*/*.log")).read_text()

    log = start(16)
    assert "an epoch has 3 steps of 16 images (16 x 1 process): it leaves out 0 of 48" in log
    assert "train_dataloader.batch_size=4 and multiply the learning rate by 0.25" in log
    with pytest.raises(InputError, match=r"48 training images are fewer than a batch of 64"):
        start(64)
