"""A warning is logged if training does not end together with its schedules."""

import pytest
from mmengine.config import Config

from bam_mm.launch import training
from bam_mm.launch.config import load_config
from tests.launch.test_accumulation import TOY

ALONE = dict(type="CosineAnnealingLR", T_max=3, end=3)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"max_epochs": 8}, "after epoch 8, but the learning rate schedule after epoch 12"),
        (
            {"train_cfg.max_epochs": 20},
            "after epoch 20, but the learning rate schedule after epoch 12",
        ),
        ({}, None),
        ({"max_epochs": 8, "param_scheduler.1.end": 8}, None),
    ],
)
def test_a_schedule_of_another_length_is_logged(options, words, monkeypatch):
    messages = []
    monkeypatch.setattr(training, "print_log", lambda text, **_: messages.append(text))
    training._compare_lengths(load_config(TOY, options))
    training._compare_lengths(Config(dict(train_cfg=dict(max_epochs=3), param_scheduler=ALONE)))
    assert len(messages) == (words is not None)
    assert words is None or words in messages[0]
