"""The log has one line about the optimizer's groups, and warnings and details where wanted."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from torch import nn

from bam_mm.optim.summary import describe_groups


def test_a_description_by_hand():
    parameters = [nn.Parameter(torch.ones(size)) for size in ((2, 3), (3,), (1000,))]
    groups = [
        dict(params=parameters[:1], lr=0.1, weight_decay=0.05),
        dict(params=parameters[1:], lr=0.01, weight_decay=0.0),
    ]
    assert describe_groups(groups) == (
        "optimizer: 3 tensors (1,009 numbers); weight decay 0: 2 tensors, 0.05: 1 tensors; "
        "learning rate 0.01 to 0.1 in 2 groups"
    )
    assert describe_groups(groups[:1]).endswith("0.05: 1 tensors; learning rate 0.1")


@pytest.mark.parametrize("kind", ["BriefOptimWrapperConstructor", "StudentOptimWrapperConstructor"])
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_one_line_and_all_of_them_for_debugging(monkeypatch, kind, level):
    logger = MMLogger.get_instance(f"{kind}-{level}", log_level=level)
    monkeypatch.setattr(MMLogger, "get_current_instance", classmethod(lambda cls: logger))
    records = []
    monkeypatch.setattr(logger.handlers[0], "handle", records.append)
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[1].weight.requires_grad = False
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type="SGD", lr=0.5, weight_decay=0.1),
            paramwise_cfg=dict(bias_decay_mult=0.0),
            constructor=f"bam_mm.{kind}",
        ),
    )
    texts = [record.getMessage() for record in records if record.levelno >= logging.INFO]
    warning = "1.weight is skipped since its requires_grad=False"
    line = (
        "optimizer: 3 tensors (11 numbers); weight decay 0: 2 tensors, 0.1: 1 tensors; "
        "learning rate 0.5"
    )
    assert warning in texts and texts[-1] == line
    each = [text for text in texts if text.startswith("paramwise_options -- ")]
    assert len(each) == (0 if level == "INFO" else 2) and len(texts) == 2 + len(each)
    logger.info("after")  # The level is restored.
    assert records[-1].getMessage() == "after"
    assert sum(len(group["params"]) for group in wrapper.optimizer.param_groups) == 3
