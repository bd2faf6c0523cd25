"""Facts that a run writes for its record."""

from argparse import Namespace
from pathlib import Path

import mmengine.device
import mmengine.runner.log_processor
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from bam_mm.data.toy import make_world
from bam_mm.launch import run_facts
from bam_mm.launch.config import load_config
from bam_mm.launch.gpu_memory import PeakGPUMemory
from bam_mm.launch.run_facts import read_facts, write_facts
from bam_mm.launch.testing import test as run_test
from bam_mm.launch.training import train
from bam_mm.registry import HOOKS

pytestmark = pytest.mark.slow

CONFIG = (
    Path(__file__).resolve().parents[2] / "configs/cls/vit-toy-p8_1xb64-linear-coslr-10e_toy.py"
)
GIB = 2**30


def test_peak_memory_is_that_of_this_process(tmp_path):
    assert read_facts(tmp_path, "test") == {}
    write_facts(tmp_path, "test", peak_gpu_mb=None, precision=None)
    before = read_facts(tmp_path, "test")
    assert before["processes"] == 1 and before["peak_mb"] > 50
    assert before["peak_gpu_mb"] is None
    # Larger than the peak so far, so the peak has to rise by at least 64 MiB.
    block = bytearray(int((before["peak_mb"] + 64) * 2**20))
    block[::4096] = b"x" * len(block[::4096])
    write_facts(tmp_path, "test", peak_gpu_mb=None, precision=None)
    assert read_facts(tmp_path, "test")["peak_mb"] > before["peak_mb"] + 60


class Counters:
    """Counters of a GPU's memory that behave like torch's."""

    def __init__(self, monkeypatch):
        self.allocated = self.peak = 0
        for module in (torch.cuda, torch.cuda.memory):
            monkeypatch.setattr(module, "max_memory_allocated", lambda device=None: self.peak)
            monkeypatch.setattr(module, "reset_peak_memory_stats", self.reset)

    def use(self, size):
        """Allocate memory and free it again."""
        self.peak = max(self.peak, self.allocated + size)

    def reset(self, device=None):
        self.peak = self.allocated


@pytest.fixture
def counters(monkeypatch):
    return Counters(monkeypatch)


@pytest.fixture
def available(monkeypatch):
    """A function that makes torch report a GPU."""

    def report():
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "some GPU")

    return report


def test_resets_do_not_lose_the_peak(counters, available, monkeypatch):
    available()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    counters.use(9 * GIB)  # An earlier run of this process.
    counters.allocated = GIB
    with PeakGPUMemory() as memory:
        assert memory.mb() == 1024
        counters.use(3 * GIB)
        assert mmengine.device.get_max_cuda_memory() == 4096  # Resets the counter.
        counters.use(2 * GIB)
        with pytest.warns(FutureWarning):
            torch.cuda.memory.reset_max_memory_allocated()  # torch's other name for it.
        assert counters.peak == GIB and memory.mb() == 4096
        counters.use(4 * GIB)
        assert memory.mb() == 5120
    assert torch.cuda.reset_peak_memory_stats == counters.reset


def test_the_counter_of_a_gpu_that_is_not_used_yet(counters, monkeypatch):
    def fail(device=None):
        raise RuntimeError("creates a context on the first GPU")

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", fail)
    with PeakGPUMemory() as memory:
        assert memory.mb() is None


def test_the_largest_peak_of_all_processes(tmp_path, available, monkeypatch):
    available()
    others = [{"peak_mb": 5.0, "device": "other GPU", "peak_gpu_mb": peak} for peak in (70.0, 7.0)]
    monkeypatch.setattr(run_facts, "gather_objects", lambda mine: [mine, *others])
    write_facts(tmp_path, "train", peak_gpu_mb=8.0, precision="tf32")
    facts = read_facts(tmp_path, "train")
    assert facts["precision"] == "tf32" and facts["peak_gpu_mb"] == 70.0
    assert facts["devices"] == ["other GPU", "some GPU"]


@HOOKS.register_module()
class UseGPUMemory(Hook):
    """Uses 3 GiB in the first iteration, 1 GiB in each later one."""

    counters: Counters

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.counters.use(GIB if batch_idx else 3 * GIB)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.counters.use(GIB if batch_idx else 2 * GIB)


def test_training_and_test_record_their_peaks(tmp_path, counters, available, monkeypatch):
    make_world(tmp_path / "world", scale=0.01)
    monkeypatch.setattr(Config, "pretty_text", "")  # mmengine formats it four times for its log.
    monkeypatch.setattr(UseGPUMemory, "counters", counters, raising=False)
    monkeypatch.setattr(mmengine.runner.log_processor, "is_cuda_available", lambda: True)
    for name in ("train", "test"):
        # The run itself is on the CPU.
        monkeypatch.setattr(Runner, name, then(getattr(Runner, name), available))
    options = {"data_root": str(tmp_path / "world/images"), "checkpoint": "random"}
    options |= {"train_cfg.max_epochs": 1, "default_hooks.logger.interval": 1}
    for part, peak in (("train", 3072), ("test", 2048)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        config = load_config(CONFIG, options)
        config.default_hooks.memory = dict(type="bam_mm.UseGPUMemory", priority="HIGH")
        for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
            loader.update(num_workers=0, persistent_workers=False, batch_size=4)
        args = Namespace(
            config=str(CONFIG), work_dir=str(tmp_path / part), launcher="none", amp=False,
            resume=None, auto_scale_lr=False, out=None,
            checkpoint=str(tmp_path / "train/epoch_1.pth"),
        )  # fmt: skip
        {"train": train, "test": run_test}[part](config, args)
        assert counters.peak < GIB  # mmengine has reset the counter.
        assert read_facts(tmp_path / part, part)["peak_gpu_mb"] == peak


def then(function, after):
    def run(self):
        result = function(self)
        after()
        return result

    return run
