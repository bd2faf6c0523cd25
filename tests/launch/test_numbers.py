"""Numbers that libraries use without a check: one message with place, value and range."""

import math
from argparse import Namespace

import pytest
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.launch.numbers import check_numbers
from bam_mm.launch.runner import prepare
from bam_mm.variables.entries import look_up


def config_with(key, value):
    config = Config(
        dict(
            train_cfg=dict(max_epochs=3, val_interval=1),
            default_hooks=dict(logger=dict(interval=10), checkpoint=dict(interval=1)),
            randomness=dict(seed=0),
            optim_wrapper=dict(optimizer=dict(lr=0.1, weight_decay=0), clip_grad=dict(max_norm=1)),
            model=dict(backbone=dict(drop_path_rate=0.1)),
        )
    )
    config.merge_from_dict({key: value})
    return config


@pytest.mark.parametrize(
    "key, value, words",
    [
        ("train_cfg.max_epochs", 0, "an integer of at least 1"),
        ("train_cfg.max_epochs", 1.5, "an integer of at least 1"),
        ("train_cfg.max_iters", -1, "an integer of at least 1"),
        ("train_cfg.val_interval", 0, "an integer of at least 1"),
        ("train_cfg.val_begin", -1, "an integer of at least 0"),
        ("default_hooks.logger.interval", 0, "an integer of at least 1"),
        ("default_hooks.checkpoint.interval", 0.5, "an integer, or -1 for never"),
        ("randomness.seed", -1, "an integer from 0"),
        ("randomness.seed", 1.0, "an integer from 0"),
        ("randomness.seed", 2**32, "an integer from 0"),
        ("optim_wrapper.accumulative_counts", 0, "an integer of at least 1"),
        ("optim_wrapper.optimizer.lr", [0, 1], "a number of at least 0, with a point for decimals"),
        ("optim_wrapper.optimizer.lr", "1e-4", "a number of at least 0"),
        ("optim_wrapper.optimizer.lr", math.nan, "a number of at least 0"),
        ("optim_wrapper.optimizer.weight_decay", -0.1, "a number of at least 0"),
        ("optim_wrapper.clip_grad.max_norm", -1, "a number above 0, or .*clip_grad=None"),
        ("param_scheduler", [dict(begin=-1)], "an integer of at least 0"),
        ("param_scheduler", dict(start_factor=0), "a fraction above 0"),
        ("param_scheduler", [dict(begin=0), dict(begin=3, end=2)], "above .*begin=3"),
        ("data_preprocessor.mean", [1, 2], "a list with a number for each channel"),
        ("model.data_preprocessor.std", [1, 0, 1], "a list with a number above 0"),
        ("data_preprocessor.std", 0, "a list with a number above 0"),
        ("data_preprocessor.size", "abc", "a number of pixels above 0"),
        ("train_pipeline", [dict(crop_size=(0, 0))], "a number of pixels above 0"),
        ("val_evaluator.topk", [0], "an integer of at least 1, or several"),
        ("model.backbone.drop_path_rate", 2, "a fraction of at least 0 and below 1"),
    ],
)
def test_impossible_numbers(key, value, words):
    with pytest.raises(InputError, match=rf"^{key}[.\w]*=.* of the config: must be {words}"):
        check_numbers(config_with(key, value))


@pytest.mark.parametrize(
    "key, value",
    [
        ("train_cfg.max_epochs", 1),
        ("train_cfg.max_iters", 1e5),
        ("default_hooks.checkpoint.interval", -1),
        ("randomness.seed", None),
        ("randomness.seed", 2**32 - 1),
        ("optim_wrapper.optimizer.lr", 0),
        ("optim_wrapper.clip_grad.max_norm", math.inf),
        ("model.backbone.drop_path_rate", 0.0),
        ("data_preprocessor.mean", [0]),
        ("param_scheduler", [dict(begin=0, end=math.inf), dict(start_factor=1e-6, end=3)]),
        ("data_preprocessor.std", [1, 1.5, 2, 3]),
        ("data_preprocessor.size", (96, 128)),
        ("val_evaluator.topk", (1, 5)),
        # Not the one of a config's own parts, which may count otherwise.
        ("model.head.interval", -3.5),
        ("custom", dict(max_epochs=0)),
    ],
)
def test_possible_numbers(key, value):
    config = config_with(key, value)
    check_numbers(config)
    assert look_up(config, key)[0] == value


@pytest.mark.parametrize(
    "launcher, name", [("pytorch", "RANK"), ("slurm", "SLURM_PROCID"), ("mpi", "OMPI_COMM")]
)
def test_a_launcher_that_did_not_start_the_process(launcher, name, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    arguments = Namespace(launcher=launcher, work_dir="w", config="own.py")
    with pytest.raises(InputError, match=rf"^--launcher {launcher}: {name}\S* is not set, so"):
        prepare(Config(), arguments)
