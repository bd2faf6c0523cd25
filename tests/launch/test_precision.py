"""Mixed precision on machines with and without a GPU, and with ``--amp``."""

import pytest
import torch
from mmengine.config import Config

from bam_mm.launch import training
from bam_mm.launch.config import load_config
from bam_mm.launch.runner import fit_precision_to_machine
from tests.launch.test_accumulation import TOY, arguments

WRAPPER = dict(dtype="bfloat16", loss_scale="dynamic", clip_grad=dict(max_norm=0.3))


@pytest.mark.parametrize("kind", ["AmpOptimWrapper", "bam_mm.AmpOptimWrapper"])
@pytest.mark.parametrize("gpu", [False, True])
def test_without_a_gpu_training_runs_in_float32(kind, gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    config = Config(dict(optim_wrapper=dict(type=kind, **WRAPPER)))
    fit_precision_to_machine(config)
    kept = dict(type="OptimWrapper", clip_grad=dict(max_norm=0.3))
    assert config.optim_wrapper == (dict(type=kind, **WRAPPER) if gpu else kept)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, {"type": "bam_mm.AmpOptimWrapper"}),
        (
            {"optim_wrapper.dtype": "bfloat16"},
            {"type": "bam_mm.AmpOptimWrapper", "dtype": "bfloat16"},
        ),
        ({"optim_wrapper.type": "X"}, {"type": "X"}),
    ],
    ids=str,
)
def test_amp_chooses_the_wrapper_that_scales_only_float16(options, expected, tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def build(config):
        raise Reached(config.optim_wrapper)

    monkeypatch.setattr(training, "build_runner", build)
    with pytest.raises(Reached) as reached:
        training.train(load_config(TOY, options), arguments(work_dir=str(tmp_path), amp=True))
    wrapper = reached.value.args[0]
    names = ("type", "dtype", "loss_scale")
    assert {name: wrapper[name] for name in names if name in wrapper} == expected
