"""The momentum teacher: its update, its buffers and its schedule."""

import math

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from torch import nn

from bam_mm.models import MomentumTeacher, momentum_at


def student():
    backbone = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), DropPath(0.5), nn.Dropout(0.5))
    return backbone, nn.Linear(4, 2)


def test_update_is_the_moving_average_of_parameters_only():
    backbone, neck = student()
    teacher = MomentumTeacher(backbone, neck)
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    with torch.no_grad():
        for p in [*backbone.parameters(), *neck.parameters()]:
            p.add_(1.0)
        backbone[1].running_mean.fill_(7.0)
    teacher.update(backbone, neck, 0.9)
    for name, value in teacher.state_dict().items():
        is_parameter = "running" not in name and "num_batches" not in name
        torch.testing.assert_close(value, before[name] + (0.1 if is_parameter else 0))


def test_buffers_come_from_the_teachers_own_forward_passes():
    backbone, neck = student()
    teacher = MomentumTeacher(backbone, neck).train()
    teacher(torch.randn(64, 3) * 5 + 3)
    assert teacher.backbone[1].running_mean.abs().max() > 0
    assert backbone[1].running_mean.abs().max() == 0


def test_no_gradient_and_no_randomness():
    backbone, neck = student()
    teacher = MomentumTeacher(backbone, neck).train()
    assert not any(p.requires_grad for p in teacher.parameters())
    assert teacher.backbone[1].training
    assert not teacher.backbone[2].training and not teacher.backbone[3].training
    x = torch.randn(16, 3)
    torch.testing.assert_close(teacher(x), teacher(x))


def test_copy_takes_buffers_too():
    backbone, neck = student()
    teacher = MomentumTeacher(backbone, neck)
    backbone[1].running_mean.fill_(7.0)
    nn.init.zeros_(neck.weight)
    teacher.copy_from(backbone, neck)
    assert (teacher.backbone[1].running_mean == 7).all() and (teacher.neck.weight == 0).all()


def test_schedule_by_hand():
    assert momentum_at(0, 100) == pytest.approx(0.995)
    assert momentum_at(100, 100) == pytest.approx(1.0)
    assert momentum_at(50, 100) == pytest.approx(0.9975)
    assert momentum_at(25, 100, 0.9, 1.0) == pytest.approx(
        1 - 0.1 * (1 + math.cos(math.pi / 4)) / 2
    )
    values = [momentum_at(i, 30, 0.98) for i in range(31)]
    assert values == sorted(values)
