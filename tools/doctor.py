"""Check the installation and print, for each fault, the problem and a command that fixes it.

This file imports nothing but the standard library at the top level: it must run even if torch,
mmengine or bam_mm cannot be imported.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

FORKS = {
    "mmengine": ("onedl-mmengine", "0.10.12"),
    "mmcv": ("onedl-mmcv", "2.3.6"),
    "mmpretrain": ("onedl-mmpretrain", "1.3.6"),
    "mmdet": ("onedl-mmdetection", "3.5.1"),
    "mmseg": ("onedl-mmsegmentation", "1.4.2"),
}
UPSTREAM = {
    "mmengine": ("mmengine", "0.10.7"),
    "mmcv": ("mmcv", "2.1.0"),
    "mmpretrain": ("mmpretrain", "1.2.0"),
    "mmdet": ("mmdet", "3.3.0"),
    "mmseg": ("mmsegmentation", "1.2.2"),
}
TORCH_PAIRS = {"2.11": "0.26", "2.10": "0.25", "2.9": "0.24", "2.8": "0.23", "2.7": "0.22"}
TORCH_PAIRS["2.6"] = "0.21"

PIP = f"{sys.executable} -m pip"
REINSTALL = "make clean && make install"
DISK_NEEDED_GB = 2.0


@dataclass(frozen=True)
class Finding:
    """Result of a check.

    Attributes:
        name: Name of the check.
        ok: Whether the check passed.
        text: Versions, or the problem.
        remedy: Command that fixes the problem, ``""`` if there is none.
    """

    name: str
    ok: bool
    text: str
    remedy: str = ""


def version_of(distribution: str) -> str | None:
    """Return the version of an installed distribution, None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def check_python() -> Finding:
    """Check the version of Python."""
    text = f"{sys.version.split()[0]} at {sys.executable}"
    return Finding(
        "Python", sys.version_info >= (3, 10), text, "make clean && make install PYTHON=python3.11"
    )


def check_torch(version: Callable[[str], str | None] = version_of) -> Finding:
    """Check that torch and torchvision have matching versions and can be imported."""
    torch, vision = version("torch"), version("torchvision")
    if torch is None or vision is None:
        missing = "torch" if torch is None else "torchvision"
        return Finding("torch", False, f"{missing} is not installed", "make install")
    pair = TORCH_PAIRS.get(".".join(torch.split(".")[:2]))
    if pair is not None and not vision.startswith(pair):
        return Finding(
            "torch",
            False,
            f"torch {torch} needs torchvision {pair}, found {vision}",
            f"{PIP} install -c constraints.txt torch torchvision",
        )
    try:
        importlib.import_module("torchvision.ops")
    except Exception as error:
        return Finding(
            "torch",
            False,
            f"torch {torch} and torchvision {vision} do not load together ({_line(error)})",
            f"{PIP} install -c constraints.txt --force-reinstall torch torchvision",
        )
    return Finding("torch", True, f"torch {torch}, torchvision {vision}")


def check_mm_packages(version: Callable[[str], str | None] = version_of) -> Finding:
    """Check that one family of mm packages is completely installed, in matching versions."""
    forks = {name: version(name) for name, _ in FORKS.values()}
    upstream = {name: version(name) for name, _ in UPSTREAM.values()}
    both = [
        f"{fork} over {up}"
        for (fork, _), (up, _) in zip(FORKS.values(), UPSTREAM.values(), strict=True)
        if forks[fork] and upstream[up]
    ]
    if both:
        return Finding(
            "mm packages",
            False,
            f"two families with the same import names overwrite each other: {', '.join(both)}",
            REINSTALL,
        )
    family, found = (UPSTREAM, upstream) if any(upstream.values()) else (FORKS, forks)
    if any(forks.values()) and any(upstream.values()):
        return Finding(
            "mm packages",
            False,
            "some packages come from the forks and some from upstream: "
            + ", ".join(f"{k} {v}" for k, v in {**forks, **upstream}.items() if v),
            REINSTALL,
        )
    wrong = [
        f"{name} {found[name] or 'missing'} (tested: {wanted})"
        for name, wanted in family.values()
        if found[name] != wanted
    ]
    if wrong:
        extra = "onedl" if family is FORKS else "openmmlab"
        return Finding(
            "mm packages",
            False,
            f"missing or untested versions: {', '.join(wrong)}",
            f"{PIP} install -c constraints.txt --no-build-isolation -e '.[{extra}]'",
        )
    return Finding("mm packages", True, ", ".join(f"{k} {v}" for k, v in found.items()))


def check_ops(load: Callable[[str], object] = importlib.import_module) -> Finding:
    """Check that mmcv's compiled operators can be loaded and return correct results."""
    name = "mmcv operators"
    mmcv = "mmcv" if version_of("mmcv") else "onedl-mmcv"
    rebuild = (
        f"MMCV_WITH_OPS=1 {PIP} install -c constraints.txt --no-build-isolation --no-deps "
        f"--no-cache-dir --force-reinstall {mmcv}"
    )
    if importlib.util.find_spec("mmcv") is None:
        return Finding(name, False, "mmcv is not installed", "make install")
    try:
        load("mmcv._ext")
    except ModuleNotFoundError:
        return Finding(
            name,
            False,
            "no ops built: mmcv was installed without its compiled operators (which happens "
            "silently with pip's build isolation)",
            rebuild,
        )
    except ImportError as error:
        return Finding(
            name,
            False,
            f"ops built for another torch: they cannot be loaded ({_line(error)})",
            rebuild,
        )
    try:
        text = _compute_with_ops()
    except Exception as error:
        return Finding(
            name, False, f"the ops can be loaded but do not work ({_line(error)})", rebuild
        )
    return Finding(name, True, text)


def _compute_with_ops() -> str:
    """Run nms and roi_align on inputs with known results."""
    import torch

    ops = importlib.import_module("mmcv.ops")
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]])
    _, kept = ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)
    if kept.tolist() != [0, 2]:
        raise RuntimeError(f"nms keeps {kept.tolist()} instead of [0, 2]")
    ramp = torch.arange(8.0).expand(1, 1, 8, 8).contiguous()
    rois = torch.tensor([[0.0, 0, 0, 4, 4]])
    # Bin centres lie at x = 1 and 3; aligned sampling reads the ramp at x - 0.5.
    values = ops.roi_align(ramp, rois, (2, 2), 1.0, 2, "avg", True)[0, 0, 0]
    if not torch.allclose(values, torch.tensor([0.5, 2.5]), atol=1e-5):
        raise RuntimeError(f"roi_align returns {values.tolist()} instead of [0.5, 2.5]")
    return "nms and roi_align return correct results"


def check_opencv() -> Finding:
    """Check that OpenCV can be imported."""
    try:
        version = importlib.import_module("cv2").__version__
    except Exception as error:
        return Finding(
            "OpenCV",
            False,
            f"cv2 cannot be imported ({_line(error)})",
            f"{PIP} install -c constraints.txt --no-deps --force-reinstall opencv-python-headless",
        )
    return Finding("OpenCV", True, f"cv2 {version}")


def check_import(name: str, distribution: str) -> Finding:
    """Check that a package can be imported."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return Finding(name, False, f"cannot be imported ({_line(error)})", "make install")
    return Finding(name, True, version_of(distribution) or "found")


def check_gpu() -> Finding:
    """Report the GPUs that torch finds; none is not a fault."""
    try:
        torch = importlib.import_module("torch")
        if torch.cuda.is_available():
            names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
            return Finding("GPU", True, f"{torch.cuda.device_count()} x {', '.join(names)}")
    except Exception as error:
        return Finding("GPU", True, f"cannot be queried: {_line(error)}")
    return Finding("GPU", True, "torch finds none: everything runs on the CPU")


def check_disk(free_bytes: int | None = None) -> Finding:
    """Check that there is enough disk space for data and checkpoints."""
    free = shutil.disk_usage(Path.cwd()).free if free_bytes is None else free_bytes
    text = f"{free / 1e9:.1f} GB free here, {DISK_NEEDED_GB} GB needed for data and checkpoints"
    return Finding("disk", free / 1e9 >= DISK_NEEDED_GB, text, "rm -rf work_dirs/*/epoch_*.pth")


def examine(ops_only: bool = False) -> list[Finding]:
    """Run all checks, in the order in which faults should be fixed."""
    if ops_only:
        return [check_ops()]
    return [
        check_python(),
        check_torch(),
        check_mm_packages(),
        check_opencv(),
        check_ops(),
        check_import("timm", "timm"),
        check_import("sklearn", "scikit-learn"),
        check_import("bam_mm", "bam-mm"),
        check_gpu(),
        check_disk(),
    ]


def _line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:160] if text else type(error).__name__


def main() -> int:
    """Print the findings.

    Returns:
        The exit code: 0 for success, 1 if there is a fault.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ops-only", action="store_true", help="check only mmcv's operators")
    findings = examine(parser.parse_args().ops_only)
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'FAULT'} {finding.name:15s} {finding.text}")
        if not finding.ok:
            print(f"      {'':15s} fix: {finding.remedy}")
    faults = sum(not finding.ok for finding in findings)
    if faults:
        print(f"{faults} fault{'s' * (faults > 1)}; fix the first one first")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
