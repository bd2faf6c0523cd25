"""Types that are classes, as in configs of pure Python, work like their names."""

import pytest
import torch
from mmengine.config import Config

from bam_mm import InputError
from bam_mm.hooks import LoadBackboneHook
from bam_mm.launch import training
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import check_strategy, fit_precision_to_machine
from bam_mm.launch.training import train
from tests.launch.test_accumulation import arguments

CONFIG = """
from mmengine.optim import OptimWrapper
from torch.optim import SGD
from bam_mm.hooks import LoadBackboneHook, WholeCheckpointHook
from bam_mm.models import BAM

model = dict(type=BAM)
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.1))
train_cfg = dict(max_epochs=1)
train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=dict(type=WholeCheckpointHook))
custom_hooks = [dict(type=LoadBackboneHook, checkpoint='x.pth')]
"""


@pytest.fixture
def config(tmp_path):
    (tmp_path / "c.py").write_text(CONFIG)
    config = load_config(tmp_path / "c.py")
    config.work_dir = str(tmp_path)
    return config


def test_a_training_starts_with_its_flags(config, monkeypatch):
    def stop(config, **_):
        raise StopIteration(config)

    monkeypatch.setattr(training, "preprocess_for_training", stop)
    with pytest.raises(StopIteration) as stopped:
        train(config, arguments(amp=True, trust_checkpoint=True, allow_changes=True))
    assert stopped.value.args[0] is config
    assert config.optim_wrapper.type == "bam_mm.AmpOptimWrapper"
    assert config.custom_hooks[0].type is LoadBackboneHook and config.custom_hooks[0].trust
    assert config.default_hooks.checkpoint.allow_changes


@pytest.mark.parametrize(
    "key, value, words",
    [("train_dataloader.batch_size", 1, "batch_size=1: BAM compares"),
     ("optim_wrapper.accumulative_counts", 2, "accumulative_counts=2: the loss of BAM")],
)  # fmt: skip
def test_what_bam_needs_is_checked(config, key, value, words):
    config.merge_from_dict({key: value})
    with pytest.raises(InputError, match=words):
        train(config, arguments())


def test_fsdp_and_mixed_precision(config, monkeypatch):
    from mmengine._strategy import FSDPStrategy
    from mmengine.optim import AmpOptimWrapper

    config.runner_type, config.strategy = "FlexibleRunner", dict(type=FSDPStrategy)
    with pytest.raises(InputError, match="mmengine's FSDP cannot update the teacher of BAM"):
        check_strategy(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    other = Config(dict(optim_wrapper=dict(type=AmpOptimWrapper, dtype="bfloat16", clip_grad=None)))
    fit_precision_to_machine(other)
    assert other.optim_wrapper == dict(type="OptimWrapper", clip_grad=None)
