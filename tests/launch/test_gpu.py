"""GPUs that torch cannot use are found, with their cause, without a GPU in the test's machine."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bam_mm.launch import gpu, runner

TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12040). Please update your GPU "
    "driver by downloading and installing a new version.\nmore lines"
)
TORCH_2_11 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.fixture(autouse=True)
def no_program_and_no_choice(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu.shutil, "which", lambda name: None)


@pytest.fixture
def logged(monkeypatch):
    """Texts that are logged, with their levels."""
    lines = []
    monkeypatch.setattr(
        "mmengine.logging.print_log", lambda text, logger, level: lines.append((text, level))
    )
    return lines


def unusable(monkeypatch, error, count=1, cuda="13.0"):
    """Let the machine have GPUs that torch fails to initialise with this error."""

    def init():
        raise RuntimeError(error)

    monkeypatch.setattr(gpu, "installed_gpus", lambda: count)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)


def usable(monkeypatch, architectures, *capabilities):
    """Let torch, with kernels for these architectures, see GPUs of these capabilities."""
    monkeypatch.setattr(gpu, "installed_gpus", lambda: len(capabilities))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(architectures))
    monkeypatch.setattr(torch.cuda, "get_device_capability", capabilities.__getitem__)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"Model {index}")


def test_gpus_are_counted_from_the_drivers_folders(tmp_path):
    assert gpu.installed_gpus(tmp_path) == 0
    for name in ("nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / "dev").mkdir(exist_ok=True)
        (tmp_path / "dev" / name).touch()
    assert gpu.installed_gpus(tmp_path) == 3
    for address in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "proc/driver/nvidia/gpus" / address).mkdir(parents=True)
    assert gpu.installed_gpus(tmp_path) == 2


def test_gpus_are_counted_from_nvidia_smi(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\n[ "$1" = -L ] && printf \'GPU 0: H100 (UUID: GPU-a)\\n'
        "  MIG 1g.10gb Device 0: (UUID: MIG-b)\\nGPU 1: H100 (UUID: GPU-c)\\n'\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(gpu.shutil, "which", lambda name: str(program))
    assert gpu.installed_gpus(tmp_path) == 2
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed because of no driver'; exit 9\n")
    assert gpu.installed_gpus(tmp_path) == 0
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    monkeypatch.setattr(gpu, "SECONDS_TO_LIST", 0.2)
    assert gpu.installed_gpus(tmp_path) == 0


@pytest.mark.parametrize("visible, count", [("", 0), ("-1", 0), ("-1,0", 0), ("0", 1), ("1,0", 1)])
def test_a_user_who_hides_the_gpus_wants_the_cpu(tmp_path, monkeypatch, visible, count):
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu.installed_gpus(tmp_path) == count


def test_no_fault_without_a_gpu_or_with_one_that_works(monkeypatch, logged):
    monkeypatch.setattr(gpu, "installed_gpus", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.gpu_fault() == "" and gpu.kernel_fault() == ""
    usable(monkeypatch, TORCH_2_11, (9, 0))
    assert gpu.gpu_fault() == "" and gpu.kernel_fault() == ""
    gpu.warn_of_unused_gpu()
    assert logged == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_gpu_is_counted_and_has_no_fault():
    assert gpu.installed_gpus() >= torch.cuda.device_count()
    assert gpu.gpu_fault() == "" and gpu.kernel_fault() == ""


def test_torch_without_cuda(monkeypatch):
    unusable(monkeypatch, "not compiled with CUDA", cuda=None)
    monkeypatch.setattr(torch, "__version__", "2.11.0+cpu")
    fault = gpu.gpu_fault()
    assert fault.startswith("torch 2.11.0+cpu is built without CUDA; install a torch")
    assert gpu.kernel_fault() == ""


def test_driver_too_old_for_torch(monkeypatch):
    unusable(monkeypatch, TOO_OLD)
    monkeypatch.setattr(torch, "__version__", "2.11.0")
    fault = gpu.gpu_fault()
    assert "it supports CUDA 12.4, and torch 2.11.0 is built for CUDA 13.0;" in fault
    assert fault.endswith(
        "update the driver, or install a torch that is built for CUDA 12 or older"
    )


def test_other_errors_show_the_first_line_of_torch(monkeypatch):
    unusable(monkeypatch, "CUDA driver initialization failed\nsecond line")
    assert "'CUDA driver initialization failed'; nvidia-smi" in gpu.gpu_fault()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    unusable(monkeypatch, "No CUDA GPUs are available")
    assert "are available' with CUDA_VISIBLE_DEVICES=7; correct" in gpu.gpu_fault()
    unusable(monkeypatch, "Found no NVIDIA driver on your system. Please check")
    assert "container" in gpu.gpu_fault()


def test_the_error_comes_from_torch_itself(monkeypatch):
    if torch.version.cuda is None or torch.cuda.is_available():
        pytest.skip("needs a torch for CUDA on a machine without a GPU")
    monkeypatch.setattr(gpu, "installed_gpus", lambda: 1)
    # The error is raised each time, not only the first.
    assert "finds no NVIDIA driver" in gpu.gpu_fault() == gpu.gpu_fault()


@pytest.mark.parametrize(
    "architecture, capability, runs",
    [
        ("sm_80", (8, 0), True),
        ("sm_80", (8, 9), True),
        ("sm_86", (8, 0), False),
        ("sm_80", (9, 0), False),
        ("sm_90", (8, 9), False),
        ("sm_90a", (9, 0), True),
        ("sm_100a", (10, 3), False),
        ("sm_100f", (10, 3), True),
        ("sm_120", (12, 1), True),
        ("sm_120", (10, 0), False),
        ("compute_75", (7, 5), True),
        ("compute_75", (12, 0), True),
        ("compute_90", (8, 9), False),
        ("compute_90a", (10, 0), False),
    ],
)
def test_which_gpu_runs_code_for_which_architecture(architecture, capability, runs):
    assert gpu.runs_on(architecture, capability) is runs


@pytest.mark.parametrize("capability", [(7, 5), (8, 9), (9, 0), (10, 3), (12, 1)])
def test_kernels_for_every_gpu(monkeypatch, capability):
    usable(monkeypatch, TORCH_2_11, capability)
    assert gpu.kernel_fault() == ""


def test_a_gpu_older_than_the_kernels(monkeypatch):
    usable(monkeypatch, TORCH_2_11, (9, 0), (6, 1))
    fault = gpu.kernel_fault()
    assert "GPU 1 (Model 1, compute capability 6.1): it has sm_75 sm_80" in fault
    assert "GPU 0" not in fault and "that still has kernels for it, or use only" in fault
    assert fault.endswith("CUDA_VISIBLE_DEVICES=0")


def test_a_run_is_warned_of_its_own_gpu_only(monkeypatch, logged):
    usable(monkeypatch, TORCH_2_11, (9, 0), (6, 1))
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    gpu.warn_of_unused_gpu()
    assert logged == []
    usable(monkeypatch, TORCH_2_11, (6, 1))
    gpu.warn_of_unused_gpu()
    [(text, _)] = logged
    assert text.startswith("the run will fail on its GPU: ") and text.endswith(
        "has kernels for it."
    )


def test_a_gpu_newer_than_the_kernels(monkeypatch):
    usable(monkeypatch, ["sm_50", "sm_90"], (12, 0))
    assert gpu.kernel_fault().endswith("usually a newer one, that has kernels for it")
    usable(monkeypatch, ["sm_50", "sm_90", "compute_90"], (12, 0))
    assert gpu.kernel_fault() == ""


@pytest.mark.parametrize("architectures", [[], ["an unknown name"]])
def test_no_verdict_without_a_known_architecture(monkeypatch, architectures):
    usable(monkeypatch, architectures, (6, 1))
    assert gpu.kernel_fault() == ""


def test_one_warning_for_a_run_that_uses_the_cpu(monkeypatch, logged):
    unusable(monkeypatch, TOO_OLD, count=2)
    gpu.warn_of_unused_gpu()
    [(text, level)] = logged
    assert level == gpu.logging.WARNING
    assert text.startswith("this machine has 2 GPUs, but the run uses the CPU: the NVIDIA driver")
    assert "CUDA_VISIBLE_DEVICES=-1" in text


def test_one_warning_for_a_run_that_will_fail(monkeypatch, logged):
    usable(monkeypatch, TORCH_2_11, (6, 1))
    gpu.warn_of_unused_gpu()
    [(text, level)] = logged
    assert text.startswith("the run will fail on its GPU: torch") and level == gpu.logging.WARNING


@pytest.mark.parametrize(
    "environment, launcher, warnings",
    [
        ({}, "none", 1),
        ({"LOCAL_RANK": "0"}, "pytorch", 1),
        ({"LOCAL_RANK": "1"}, "pytorch", 0),
        ({"LOCAL_RANK": "0", "SLURM_LOCALID": "3"}, "slurm", 0),
        ({"LOCAL_RANK": "0", "SLURM_LOCALID": "3"}, "pytorch", 1),
    ],
)
def test_the_first_process_of_a_machine_warns(monkeypatch, environment, launcher, warnings):
    calls = []
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runner, "warn_of_unused_gpu", lambda: calls.append(1))
    for name in ("forbid_unpickling", "check_data_folders", "import_custom_modules"):
        monkeypatch.setattr(runner, name, lambda *config: None)
    for name in ("fit_precision_to_machine", "fit_processes_to_machine"):
        monkeypatch.setattr(runner, name, lambda config: None)
    built = SimpleNamespace(hooks=[], logger=SimpleNamespace(handlers=[]), model=nn.Identity())
    monkeypatch.setattr(runner.Runner, "from_cfg", lambda config: built)
    assert runner.build_runner({"launcher": launcher}) is built
    assert len(calls) == warnings


def test_the_file_needs_only_the_standard_library():
    code = f"import runpy, sys\nrunpy.run_path({str(Path(gpu.__file__))!r})\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert not {"torch", "mmengine", "bam_mm"} & set(run.stdout.split())
