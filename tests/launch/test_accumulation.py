"""Gradient accumulation is rejected if the loss depends on the whole batch."""

from argparse import Namespace
from pathlib import Path

import pytest

from bam_mm import InputError
from bam_mm.launch.config import load_config
from bam_mm.launch.training import train

TOY = Path(__file__).resolve().parents[2] / (
    "configs/pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy.py"
)


def arguments(**kw):
    settings = dict(
        config=str(TOY), work_dir=None, launcher="none", amp=False, resume=None, auto_scale_lr=False
    )
    return Namespace(**{**settings, **kw})


METHODS = Path(__file__).resolve().parents[2] / "configs/methods"


@pytest.mark.parametrize("name", ["BAM", "SimCLR"])
def test_accumulation_is_rejected_if_images_are_compared(name, tmp_path):
    path = TOY if name == "BAM" else METHODS / "simclr_vit-toy-p8_1xb64-coslr-2e_toy.py"
    config = load_config(path, {"optim_wrapper.accumulative_counts": 4})
    match = rf"accumulative_counts=4: .*{name} .*whole batch.*set it to 1"
    with pytest.raises(InputError, match=match):
        train(config, arguments(config=str(path), work_dir=str(tmp_path)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"optim_wrapper.accumulative_counts": 1}, {"model.type": "X"}])
def test_one_step_and_other_algorithms_are_accepted(change, tmp_path):
    # They pass this check and fail later, at the missing data folder or the unknown model.
    options = {"data_root": "/nowhere", "work_dir": str(tmp_path)}
    if "model.type" in change:
        options["optim_wrapper.accumulative_counts"] = 4
    config = load_config(TOY, {**options, **change})
    with pytest.raises(Exception, match=r"/nowhere|registers? no such model") as caught:
        train(config, arguments(work_dir=str(tmp_path)))
    assert "accumulative_counts" not in str(caught.value)
