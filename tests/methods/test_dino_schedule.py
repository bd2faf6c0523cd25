"""DINO's schedule: the epoch of the target's temperature, and the last layer's first epochs."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from bam_mm import DINO, InputError
from bam_mm.registry import HOOKS
from tests.hooks.tiny_runner import config_of
from tests.methods.runs import runner_of
from tests.methods.tiny import layout_of, network_model

pytestmark = pytest.mark.slow

LAYOUT = layout_of(2, 1)
LAST_LAYER = ("weight_g", "original0", "weight_v", "original1")


class Watch(Hook):
    """Records the epoch of the head, and which parameters of the student each iteration moved."""

    priority = "VERY_LOW"

    def __init__(self):
        self.epochs, self.moved = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.epochs.append(runner.model.head.epoch)
        self.before = {name: p.detach().clone() for name, p in student_of(runner.model).items()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.moved.append(
            {n for n, p in student_of(runner.model).items() if not torch.equal(p, self.before[n])}
        )


def student_of(model):
    return {name: p for name, p in model.named_parameters() if not name.startswith("teacher.")}


def trained(folder, optimizer, *, epochs=3, **hook):
    """Train for a few epochs of two iterations. Return what was watched and the model."""
    model = network_model(DINO, LAYOUT, norm_last_layer=False).float()
    watch = Watch()
    hooks = [dict(type="bam_mm.DINOScheduleHook", **hook), watch]
    runner_of(model, folder, optimizer=optimizer, epochs=epochs, custom_hooks=hooks).train()
    return watch, model


SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.1)
ADAMW = dict(type="AdamW", lr=0.01, weight_decay=0.1)


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_the_last_layer_stays_for_the_first_epochs(tmp_path, frozen, optimizer):
    watch, model = trained(tmp_path, optimizer, freeze_last_layer=frozen)
    assert watch.epochs == [0, 0, 1, 1, 2, 2]
    every = set(student_of(model))
    last = {name for name in every if name.endswith(LAST_LAYER)}
    assert len(last) == 2
    for epoch, moved in zip(watch.epochs, watch.moved, strict=True):
        # Weight decay and momentum do not move it either.
        assert moved == (every - last if epoch < frozen else every)


def test_the_first_epoch_is_the_default(tmp_path):
    watch, _ = trained(tmp_path, SGD, epochs=2)
    moved = [any(name.endswith(LAST_LAYER) for name in names) for names in watch.moved]
    assert moved == [False, False, True, True]


def test_a_number_of_epochs_below_0():
    with pytest.raises(InputError, match="freeze_last_layer=-1"):
        HOOKS.build(dict(type="bam_mm.DINOScheduleHook", freeze_last_layer=-1))


def test_another_algorithm(tmp_path):
    config = config_of(tmp_path, custom_hooks=[dict(type="bam_mm.DINOScheduleHook")])
    with pytest.raises(InputError, match=r"DINO"):
        Runner.from_cfg(config).train()
