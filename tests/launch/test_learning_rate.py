"""The learning rate at every step of small runs, for the config's batch size and for others."""

import copy
import logging
from itertools import pairwise
from math import cos, pi
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner

from bam_mm import InputError
from bam_mm.launch import learning_rate
from bam_mm.launch.config import load_config
from bam_mm.launch.training import train
from tests.launch.test_accumulation import arguments

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
RELEASED = CONFIGS / "pretrain/bam_vit-base-p16_16xb256-amp-coslr-400e_in1k_released.py"
TENTH = dict(paramwise_cfg=dict(custom_keys=dict(second=dict(lr_mult=0.1))))
LR, END, EPOCHS, STEPS = 0.3, 0.1, 4, 4
WARMUP = dict(type="LinearLR", start_factor=0.01, end=1, convert_to_iter_based=True)
COSINE = dict(
    type="CosineAnnealingLR", eta_min=END, T_max=3, begin=1, end=4, convert_to_iter_based=True
)
MOMENTUM = dict(type="CosineAnnealingMomentum", eta_min=0.5, T_max=4, end=4)
DECAY = dict(type="mmpretrain.CosineAnnealingWeightDecay", eta_min=0.4, T_max=4, end=4)
COSINES = (1, *(0.5 + 0.5 * cos(pi * step / 12) for step in range(1, 12)))


@MODELS.register_module(force=True)
class TwoWeights(BaseModel):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Parameter(torch.ones(3))
        self.second = torch.nn.Parameter(torch.ones(3))

    def forward(self, inputs, data_samples=None, mode="loss"):
        return dict(loss=(self.first * self.second * inputs.mean()).sum())


@DATASETS.register_module(force=True)
class Ones(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return self.images

    def __getitem__(self, index):
        return dict(inputs=torch.ones(1))


@HOOKS.register_module(force=True)
class Recorder(Hook):
    """Keep the settings of each group in every iteration, and what the log shows."""

    seen: list = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        keys = ("lr", "momentum", "weight_decay")
        groups = runner.optim_wrapper.optimizer.param_groups
        rates = runner.optim_wrapper.get_lr()
        shown = rates.get("base_lr", rates["lr"])[0]
        self.seen.append(([{k: g.get(k) for k in keys} for g in groups], shown))


def run(tmp_path, schedulers, *, base=None, images=2, steps=STEPS, epochs=EPOCHS, **kw):
    """Train two weights on one process; return what was recorded."""
    optimizer = kw.pop("optimizer", dict(type="SGD", lr=LR, momentum=0.9, weight_decay=0.04))
    wrapper = dict(type="OptimWrapper", optimizer=optimizer, **kw.pop("wrapper", {}))
    config = Config(
        dict(
            default_scope="mmengine",
            model=dict(type="TwoWeights"),
            train_dataloader=dict(
                batch_size=images,
                dataset=dict(type="Ones", images=images * steps),
                sampler=dict(type="DefaultSampler", shuffle=False),
                collate_fn=dict(type="default_collate"),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            optim_wrapper=wrapper,
            param_scheduler=schedulers,
            default_hooks=dict(checkpoint=kw.pop("checkpoint", None)),
            custom_hooks=[dict(type="Recorder")],
            work_dir=str(tmp_path),
            **({"auto_scale_lr": dict(base_batch_size=base)} if base else {}),
        )
    )
    config.merge_from_dict(kw.pop("options", {}))
    Recorder.seen = []
    train(config, arguments(work_dir=str(tmp_path), **kw))
    return Recorder.seen


def of(seen, key, group=0):
    return [groups[group][key] for groups, _ in seen]


def schedule(peak, end):
    """Return the learning rates of ``WARMUP`` and ``COSINE``, written down by hand."""
    warmup = [peak * (0.01 + 0.99 * step / 3) for step in range(4)]
    return warmup + [end + (peak - end) * part for part in COSINES]


@pytest.fixture
def messages(monkeypatch):
    texts = []
    log = lambda text, *, level=logging.INFO, **_: texts.append((level, text))  # noqa: E731
    monkeypatch.setattr(learning_rate, "print_log", log)
    return texts


@pytest.mark.parametrize("option", [False, True], ids=["plain", "auto-scale-lr"])
def test_the_configs_batch_size_changes_nothing(option, tmp_path, messages):
    seen = run(tmp_path, [WARMUP, COSINE], base=2, auto_scale_lr=option)
    assert of(seen, "lr") == pytest.approx(schedule(LR, END))
    assert messages == []


def test_without_a_base_batch_size_nothing_is_reported(tmp_path, messages):
    seen = run(tmp_path, [WARMUP, COSINE])
    assert of(seen, "lr") == pytest.approx(schedule(LR, END))
    assert messages == []


def test_another_batch_size_is_reported_once(tmp_path, messages):
    seen = run(tmp_path, [WARMUP, COSINE], base=32)
    assert of(seen, "lr") == pytest.approx(schedule(LR, END))
    [(level, text)] = messages
    assert level == logging.WARNING
    for part in ("batch size is 2,", "for 32:", "rate 0.3;", "use 0.01875", "--auto-scale-lr"):
        assert part in text


def test_the_whole_schedule_is_scaled_by_one_factor(tmp_path, messages):
    schedulers = [WARMUP, COSINE, MOMENTUM, DECAY]
    seen = run(tmp_path, schedulers, base=32, auto_scale_lr=True)
    assert of(seen, "lr") == pytest.approx(schedule(LR / 16, END / 16))
    # Momentum and weight decay keep their end values: half of the way after two of four epochs.
    assert of(seen, "momentum")[8] == pytest.approx((0.9 + 0.5) / 2)
    assert of(seen, "weight_decay")[8] == pytest.approx((0.04 + 0.4) / 2)
    [(level, text)] = messages
    assert level == logging.INFO
    assert "batch size 2 instead of 32" in text and "multiplied by 0.0625" in text
    assert "optim_wrapper.optimizer.lr 0.3 -> 0.01875" in text
    assert "param_scheduler.1.eta_min 0.1 -> 0.00625" in text
    assert "param_scheduler.0" not in text and "param_scheduler.2" not in text
    # The recorded config is that of the user, so that training with it scales only once.
    [dumped] = tmp_path.glob("*.py")
    assert Config.fromfile(dumped).param_scheduler[1].eta_min == END


def test_groups_with_a_learning_rate_of_their_own_are_scaled_too(tmp_path, messages):
    cosine = dict(COSINE, eta_min=0.01)
    seen = run(tmp_path, [WARMUP, cosine], base=4, wrapper=TENTH, auto_scale_lr=True)
    assert of(seen, "lr") == pytest.approx(schedule(LR / 2, 0.005))
    assert of(seen, "lr", group=1) == pytest.approx(schedule(LR / 20, 0.005))
    # So is the learning rate in the log, which belongs to no group.
    assert [shown for _, shown in seen] == pytest.approx(schedule(LR / 2, 0.005))


def test_the_runner_of_other_strategies_scales_the_same(tmp_path, messages):
    options = {"runner_type": "FlexibleRunner", "env_cfg": dict(cudnn_benchmark=False)}
    seen = run(tmp_path, [WARMUP, COSINE], base=4, options=options, auto_scale_lr=True)
    assert of(seen, "lr") == pytest.approx(schedule(LR / 2, END / 2))
    assert [level for level, _ in messages] == [logging.INFO]


@pytest.mark.parametrize("base, factor", [(4, 1), (8, 0.5)])
def test_the_batches_of_all_processes_count(base, factor, tmp_path, messages, monkeypatch):
    monkeypatch.setattr(Runner, "world_size", property(lambda runner: 2))
    seen = run(tmp_path, [WARMUP, COSINE], base=base, auto_scale_lr=True)
    assert of(seen, "lr") == pytest.approx(schedule(LR * factor, END * factor))
    assert len(messages) == (factor != 1)


def test_accumulated_steps_count(tmp_path, messages):
    wrapper = dict(accumulative_counts=4)
    seen = run(tmp_path, [WARMUP, COSINE], base=8, wrapper=wrapper, auto_scale_lr=True)
    assert of(seen, "lr") == pytest.approx(schedule(LR, END))
    assert messages == []


@pytest.mark.parametrize(
    "scheduler, expected",
    [
        (
            dict(type="PolyLR", eta_min=END, by_epoch=False, end=16),
            [END + (LR - END) * (1 - step / 15) for step in range(16)],
        ),
        (
            dict(type="CosineRestartLR", eta_min=END, periods=[16], by_epoch=False, end=16),
            [END + (LR - END) * (1 + cos(pi * step / 16)) / 2 for step in range(16)],
        ),
        (
            dict(
                type="OneCycleLR", eta_max=LR, total_steps=16, pct_start=0.5, div_factor=3.0,
                final_div_factor=2.0, anneal_strategy="linear", by_epoch=False,
            ),
            [LR / 3 + (LR - LR / 3) * step / 7 for step in range(8)]
            + [LR + (LR / 6 - LR) * step / 8 for step in range(1, 9)],
        ),
        (
            dict(type="CosineAnnealingLR", eta_min_ratio=1 / 3, by_epoch=False, T_max=16, end=16),
            [END + (LR - END) * (1 + cos(pi * step / 16)) / 2 for step in range(16)],
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)  # fmt: skip
@pytest.mark.parametrize("base", [2, 4])
def test_every_schedule_keeps_its_shape(scheduler, expected, base, tmp_path, messages):
    seen = run(tmp_path, scheduler, base=base, auto_scale_lr=True)
    assert of(seen, "lr") == pytest.approx([rate * 2 / base for rate in expected])


def test_a_schedule_that_rises_is_reported(tmp_path, messages):
    run(tmp_path, [WARMUP, COSINE])
    assert messages == []
    run(tmp_path, [WARMUP, COSINE], wrapper=TENTH)  # The second weight: .03 to .1.
    [(level, text)] = messages
    assert level == logging.WARNING
    assert "param_scheduler.1.eta_min=0.1 is above the learning rate 0.03" in text
    messages.clear()
    # A cyclic schedule rises on purpose before it falls.
    up = dict(type="CosineAnnealingLR", eta_min=10 * LR, by_epoch=False, T_max=4, end=4)
    down = dict(type="CosineAnnealingLR", eta_min=0, by_epoch=False, T_max=12, begin=4, end=16)
    run(tmp_path, [up, down], wrapper=TENTH)
    assert messages == []


@pytest.mark.slow
def test_the_released_schedule_does_not_rise_on_one_gpu(tmp_path, messages):
    released = load_config(RELEASED)
    images = released.train_dataloader.batch_size
    seen = run(
        tmp_path,
        [dict(s) for s in released.param_scheduler],
        base=released.auto_scale_lr.base_batch_size,
        images=images,
        steps=1,
        epochs=released.max_epochs,
        optimizer=dict(type="AdamW", lr=released.optim_wrapper.optimizer.lr),
        options={"default_scope": "mmpretrain"},
        auto_scale_lr=True,
    )
    rates = of(seen, "lr")
    assert max(rates) == pytest.approx(3e-4) == rates[40]
    assert all(a > b for a, b in pairwise(rates[40:]))
    assert rates[-1] == pytest.approx(1e-3 / 16, rel=0.01)
    assert [level for level, _ in messages] == [logging.INFO]


@pytest.mark.parametrize("base, lowest", [(2, 0.02), (4, 0.01)])
def test_a_schedule_that_follows_a_metric(base, lowest, tmp_path, messages):
    plateau = dict(
        type="ReduceOnPlateauLR", monitor="loss", factor=0.1, patience=0, min_value=0.02
    )  # fmt: skip
    seen = run(tmp_path, [plateau], base=base, auto_scale_lr=True)
    assert of(seen, "lr")[0] == pytest.approx(LR * 2 / base)
    assert all(f"min_value 0.02 -> {lowest}" in text for _, text in messages)
    assert len(messages) == (base != 2)


@pytest.mark.parametrize("option", [False, True], ids=["without", "with"])
@pytest.mark.parametrize("runner", ["Runner", "FlexibleRunner"])
def test_resuming_scales_no_second_time(option, runner, tmp_path, messages):
    options = {"env_cfg": dict(cudnn_benchmark=False)}
    if runner == "FlexibleRunner":
        options["runner_type"] = runner
    settings = dict(base=32, checkpoint=dict(type="CheckpointHook", interval=1), options=options)
    run(tmp_path, [WARMUP, COSINE], epochs=2, auto_scale_lr=True, **copy.deepcopy(settings))
    messages.clear()
    seen = run(tmp_path, [WARMUP, COSINE], auto_scale_lr=option, resume="auto", **settings)
    assert of(seen, "lr") == pytest.approx(schedule(LR / 16, END / 16)[8:])
    [(level, text)] = messages
    if option:
        assert level == logging.INFO and "0.3 -> 0.01875" in text
    else:  # The checkpoint's are used, so no warning about an unscaled learning rate.
        assert level == logging.WARNING
        assert "checkpoint (0.01875, eta_min 0.00625), not" in text
        assert "config (0.3, eta_min 0.1)" in text


def test_scaling_without_a_learning_rate_or_batch_size_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"set optim_wrapper\.optimizer\.lr$"):
        run(tmp_path, [COSINE], base=4, auto_scale_lr=True, optimizer=dict(type="AdamW"))
    with pytest.raises(InputError, match=r"no auto_scale_lr\.base_batch_size"):
        run(tmp_path, [COSINE], auto_scale_lr=True, options={"auto_scale_lr": dict(enable=True)})
