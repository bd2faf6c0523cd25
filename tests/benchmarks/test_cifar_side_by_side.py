"""Tests of ``cifar_side_by_side.py``: the epochs that fit a time, and schedules of that length."""

import pytest

from bam_mm.launch.config import load_config
from benchmarks.cifar_side_by_side import CONFIGS, SCORED, SCORING, START, config_of, epochs_in


def test_epochs_fill_the_time_that_is_left_after_the_start_and_the_scorings():
    seconds = START + 2 * SCORED * SCORING + 10 * (4 + 5)
    assert epochs_in(seconds, 40_000, {"BAM": 8_000, "SimCLR": 10_000}) == 10
    assert epochs_in(seconds - 1, 40_000, {"BAM": 8_000, "SimCLR": 10_000}) == 9


@pytest.mark.parametrize("name", CONFIGS)
def test_the_schedule_falls_over_the_whole_training(tmp_path, name):
    file = tmp_path / "config.py"
    file.write_text(config_of(name, 60, "model = dict(head=dict(temperature=0.3))"))
    config = load_config(file)
    *warmup, cosine = config.param_scheduler
    assert config.train_cfg.max_epochs == cosine.end == cosine.begin + cosine.T_max == 60
    assert [step.end for step in warmup] == ([cosine.begin] if name == "BAM" else [])
    assert config.model.head.temperature == 0.3
    before = load_config(CONFIGS[name]).custom_hooks
    assert [hook.type for hook in config.custom_hooks] == [hook.type for hook in before]
    (online,) = (hook for hook in config.custom_hooks if hook.type == "bam_mm.OnlineKNNHook")
    assert online.interval == 10 and online.k == 200
