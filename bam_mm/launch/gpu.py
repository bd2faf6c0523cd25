"""Checks that torch can use the GPUs of the machine, before a run silently uses the CPU.

At the top level this file imports nothing but the standard library: the doctor reads it even if
torch or mmengine cannot be imported.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path

SECONDS_TO_LIST = 20
HIDDEN = ("", "-1", "NoDevFiles")
"""First entries of CUDA_VISIBLE_DEVICES that hide every GPU; the last is Slurm's."""

ARCHITECTURE = re.compile(r"(sm|compute)_(\d+)(\d)([a-z]?)")
"""``sm_90a``: kind, major version, minor version, suffix."""


def installed_gpus(root: Path = Path("/")) -> int:
    """Count the NVIDIA GPUs of the machine, whether torch can use them or not.

    Args:
        root: Folder that holds ``proc`` and ``dev``.

    Returns:
        Number of GPUs; 0 if CUDA_VISIBLE_DEVICES hides all of them, because the user then wants
        the CPU.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.split(",")[0].strip() in HIDDEN:
        return 0
    folders = list((root / "proc/driver/nvidia/gpus").glob("*"))
    devices = [path for path in (root / "dev").glob("nvidia*") if path.name[6:].isdecimal()]
    return len(folders) or len(devices) or _listed_gpus()


def _listed_gpus() -> int:
    """Count the GPUs in the list of nvidia-smi, 0 without that program."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return 0
    try:
        listing = subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=SECONDS_TO_LIST
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    # With MIG, the list has an indented line for each instance of a GPU as well.
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())


def gpu_fault() -> str:
    """Describe why torch cannot use any GPU of a machine that has one.

    Returns:
        The fault and its remedy; ``""`` if torch can use a GPU or the machine has none.
    """
    import torch

    if installed_gpus() == 0:
        return ""
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is built without CUDA; "
            "install a torch that is built for CUDA"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if torch.cuda.is_available():
            return ""
        try:
            # torch warns of the cause only once in a process, but raises it each time.
            torch.cuda.init()
        except Exception as error:
            return _cause(error, torch.__version__, torch.version.cuda)
    return f"torch {torch.__version__} finds no GPU; nvidia-smi shows whether the driver does"


def _cause(error: Exception, version: str, cuda: str) -> str:
    """Describe the error that torch raises when it initialises CUDA."""
    lines = str(error).strip().splitlines()
    line = lines[0] if lines else type(error).__name__
    found = re.search(r"driver .*too old.*found version (\d+)", line)
    if found:
        # CUDA writes its version 12.4 as 12040.
        number = int(found[1])
        driver = f"{number // 1000}.{number % 1000 // 10}"
        return (
            f"the NVIDIA driver is too old: it supports CUDA {driver}, and torch {version} is "
            f"built for CUDA {cuda}; update the driver, or install a torch that is built for "
            f"CUDA {number // 1000} or older"
        )
    if "no NVIDIA driver" in line:
        return (
            f"torch {version} finds no NVIDIA driver; install one, or start the container with "
            "its GPUs (docker run --gpus all)"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return f"torch reports {line!r} with CUDA_VISIBLE_DEVICES={visible}; correct or unset it"
    return f"torch reports {line!r}; nvidia-smi shows whether the driver works"


def kernel_fault(device: int | None = None) -> str:
    """Describe the visible GPUs that torch has no kernels for.

    Every operation on such a GPU fails, although ``torch.cuda.is_available()`` is true.

    Args:
        device: Number of the only GPU to check; None for all.

    Returns:
        The fault and its remedy; ``""`` if torch has kernels for every visible GPU.
    """
    import torch

    if torch.version.cuda is None or not torch.cuda.is_available():
        return ""
    with warnings.catch_warnings():
        # torch warns of the same fault, in many lines.
        warnings.simplefilter("ignore")
        architectures = [a for a in torch.cuda.get_arch_list() if ARCHITECTURE.fullmatch(a)]
        gpus = {
            index: torch.cuda.get_device_capability(index)
            for index in range(torch.cuda.device_count())
            if device in (None, index)
        }
    unsupported = {
        index: capability
        for index, capability in gpus.items()
        if architectures and not any(runs_on(name, capability) for name in architectures)
    }
    if not unsupported:
        return ""
    names = ", ".join(
        f"GPU {index} ({torch.cuda.get_device_name(index)}, compute capability {major}.{minor})"
        for index, (major, minor) in unsupported.items()
    )
    supported = ",".join(str(index) for index in gpus if index not in unsupported)
    hide = f", or use only the others: CUDA_VISIBLE_DEVICES={supported}" if supported else ""
    return (
        f"torch {torch.__version__} has no kernels for {names}: it has {' '.join(architectures)}; "
        f"{_remedy(architectures, min(unsupported.values()))}{hide}"
    )


def _remedy(architectures: list[str], capability: tuple[int, int]) -> str:
    """Describe which torch to install for a GPU that this one has no kernels for."""
    if capability < min(_parse(name)[1] for name in architectures):
        return "install a torch release, or one for an older CUDA, that still has kernels for it"
    return "install a torch release, usually a newer one, that has kernels for it"


def runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    """Return whether code for an architecture runs on a GPU.

    A binary (``sm_86``) runs on GPUs of the same major version and the same or a higher minor
    one. Intermediate code (``compute_86``) is compiled for every newer GPU when it is loaded. With
    the suffix ``a``, both run on GPUs of exactly this capability.

    Args:
        architecture: Entry of ``torch.cuda.get_arch_list()``.
        capability: Compute capability of the GPU, major and minor version.

    Returns:
        Whether it runs.
    """
    kind, target, suffix = _parse(architecture)
    if suffix == "a":
        return capability == target
    if kind == "compute" and not suffix:
        return capability >= target
    return capability[0] == target[0] and capability[1] >= target[1]


def _parse(architecture: str) -> tuple[str, tuple[int, int], str]:
    """Split ``sm_90a`` into its kind, capability and suffix."""
    parts = ARCHITECTURE.fullmatch(architecture)
    if parts is None:
        raise ValueError(f"{architecture!r} is no CUDA architecture such as 'sm_90'")
    return parts[1], (int(parts[2]), int(parts[3])), parts[4]


def warn_of_unused_gpu() -> None:
    """Log one warning if the machine has a GPU that torch cannot use."""
    from mmengine.logging import print_log

    if fault := gpu_fault():
        count = installed_gpus()
        message = (
            f"this machine has {count} GPU{'s' * (count > 1)}, but the run uses the CPU: {fault}. "
            "To use the CPU on purpose, set CUDA_VISIBLE_DEVICES=-1."
        )
    elif fault := kernel_fault(int(os.environ.get("LOCAL_RANK", "0"))):
        message = f"the run will fail on its GPU: {fault}."
    else:
        return
    print_log(message, logger="current", level=logging.WARNING)
