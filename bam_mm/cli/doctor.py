"""Check the installation and print, for each fault, the problem and a command that fixes it.

This file imports nothing but the standard library at the top level, and nothing of bam_mm: it must
run even if torch, mmengine or bam_mm cannot be imported.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def _load_file(name: str) -> Any:
    """Load a file of bam_mm by its path, because bam_mm may not be importable."""
    path = Path(__file__).resolve().parents[1] / name
    spec = importlib.util.spec_from_file_location(f"doctor:{name}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


remedies = _load_file("cli/doctor_remedies.py")
version_of = remedies.version_of

TORCH_PAIRS = {"2.11": "0.26", "2.10": "0.25", "2.9": "0.24", "2.8": "0.23", "2.7": "0.22"}
TORCH_PAIRS["2.6"] = "0.21"
OPENCV = [f"opencv-{kind}python{end}" for kind in ("", "contrib-") for end in ("", "-headless")]
OLDEST_PYTHON, NEWEST_TESTED_PYTHON = (3, 10), (3, 13)
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


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Check the version of Python. One that is newer than the tested ones is not a fault."""
    text = f"{'.'.join(map(str, version))} at {sys.executable}"
    if version < OLDEST_PYTHON:
        remedy = "make clean && make install PYTHON=python3.11"
        return Finding(
            "Python",
            False,
            f"{text} is older than 3.10",
            remedy if remedies.CHECKOUT else "install Python 3.10 to 3.13",
        )
    if version[:2] > NEWEST_TESTED_PYTHON:
        text += " (untested: 3.10 to 3.13 are tested)"
    if remedies.CHECKOUT and remedies.INSTALLED and not remedies.OWN:
        text += " (not the one of make install, which make doctor checks)"
    return Finding("Python", True, text)


def check_torch(version: Callable[[str], str | None] = version_of) -> Finding:
    """Check that torch and torchvision have matching versions and can be imported."""
    torch, vision = version("torch"), version("torchvision")
    if torch is None or vision is None:
        missing = "torch" if torch is None else "torchvision"
        return Finding("torch", False, f"{missing} is not installed", remedies.install())
    pair = TORCH_PAIRS.get(".".join(torch.split(".")[:2]))
    if pair is not None and not vision.startswith(pair):
        text = f"torch {torch} needs torchvision {pair}, found {vision}"
        return Finding("torch", False, text, remedies.pip_install("torch torchvision"))
    try:
        importlib.import_module("torchvision.ops")
    except Exception as error:
        text = f"torch {torch} and torchvision {vision} do not load together ({_line(error)})"
        return Finding(
            "torch", False, text, remedies.pip_install("--force-reinstall torch torchvision")
        )
    return Finding("torch", True, f"torch {torch}, torchvision {vision}")


def check_gpu(checks: Any = None) -> Finding:
    """Check that torch can use the GPUs of the machine; no GPU is not a fault."""
    try:
        torch = importlib.import_module("torch")
        checks = checks or _load_file("launch/gpu.py")
        if fault := checks.gpu_fault() or checks.kernel_fault():
            problem, _, remedy = fault.rpartition("; ")
            return Finding("GPU", False, problem, remedy)
        if torch.cuda.is_available():
            names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
            return Finding("GPU", True, f"{torch.cuda.device_count()} x {', '.join(names)}")
    except Exception as error:
        return Finding("GPU", True, f"cannot be queried: {_line(error)}")
    return Finding("GPU", True, "torch finds none: everything runs on the CPU")


def check_mm_packages(version: Callable[[str], str | None] = version_of) -> Finding:
    """Check that one family of mm packages is completely installed, in matching versions."""
    name = "mm packages"
    tested = {**dict(remedies.FORKS.values()), **dict(remedies.UPSTREAM.values())}
    found = {distribution: version(distribution) for distribution in tested}
    present = [distribution for distribution in tested if found[distribution]]
    upstream = [up for up, _ in remedies.UPSTREAM.values() if up in present]
    if upstream and len(present) > len(upstream):
        pairs = [(remedies.FORKS[key][0], up) for key, (up, _) in remedies.UPSTREAM.items()]
        both = [f"{fork} over {up}" for fork, up in pairs if fork in present and up in present]
        text = (
            f"two families with the same import names overwrite each other: {', '.join(both)}"
            if both
            else "some packages come from the forks and some from upstream: "
            + ", ".join(f"{distribution} {found[distribution]}" for distribution in present)
        )
        return Finding(name, False, text, remedies.replace_all(present))
    family = remedies.UPSTREAM if upstream else remedies.FORKS
    wrong = [
        f"{distribution} {found[distribution] or 'missing'} (tested: {wanted})"
        for distribution, wanted in family.values()
        if found[distribution] != wanted
    ]
    if wrong:
        text = f"missing or untested versions: {', '.join(wrong)}"
        return Finding(name, False, text, remedies.install("openmmlab" if upstream else "onedl"))
    for package, (distribution, _) in family.items():
        used = remedies.folder_of(package)
        own = remedies.installed_folder(distribution, package)
        if used and own and used != own:
            text = f"{package} is imported from {used}, and {distribution} is installed in {own}"
            return Finding(name, False, text, f"remove {used.parent} from PYTHONPATH")
    return Finding(name, True, ", ".join(f"{d} {found[d]}" for d in present))


def check_transformers(version: Callable[[str], str | None] = version_of) -> Finding:
    """Check the package with which mmpretrain imports its multimodal models, where installed."""
    found = version("transformers")
    if found is None:
        return Finding("transformers", True, "not installed, and not needed")
    if int(found.split(".")[0]) < 5:
        return Finding("transformers", True, found)
    return Finding(
        "transformers",
        False,
        f"mmpretrain's models cannot be imported beside transformers {found}",
        f"{remedies.PIP} install 'transformers<5'",
    )


def check_opencv(version: Callable[[str], str | None] = version_of) -> Finding:
    """Check that OpenCV can be imported, and that distributions that share its files agree."""
    name = "OpenCV"
    found = {distribution: version(distribution) for distribution in OPENCV}
    found = {distribution: number for distribution, number in found.items() if number}
    listed = ", ".join(f"{distribution} {number}" for distribution, number in found.items())
    if len(set(found.values())) > 1:
        return Finding(
            name,
            False,
            f"different versions overwrite each other's files in cv2: {listed}",
            f"{remedies.PIP} uninstall -y {' '.join(found)} && "
            + remedies.pip_install("opencv-python opencv-python-headless"),
        )
    try:
        text = f"cv2 {importlib.import_module('cv2').__version__}"
    except Exception as error:
        return Finding(
            name,
            False,
            f"cv2 cannot be imported ({_line(error)})",
            remedies.pip_install("--no-deps --force-reinstall opencv-python-headless"),
        )
    if len(found) > 1:
        text += f" ({listed} share its files, which is harmless in one version)"
    return Finding(name, True, text)


def check_import(name: str, distribution: str) -> Finding:
    """Check that a package can be imported."""
    try:
        importlib.import_module(name)
    except Exception as error:
        return Finding(name, False, f"cannot be imported ({_line(error)})", remedies.install())
    return Finding(name, True, version_of(distribution) or "found")


def check_operators(load: Callable[[str], Any] = importlib.import_module) -> Finding:
    """Check that nms and roi_align, mmcv's own or torchvision's, return correct results.

    Operators that are compiled for another torch are a fault even though torchvision's replace
    them: the other operators of mmcv, which only the compiled ones provide, are missing.
    """
    name = "operators"
    if remedies.folder_of("mmcv") is None:
        return Finding(name, False, "mmcv is not installed", remedies.install())
    try:
        finder, reason = load("bam_mm.ops.finder"), load("bam_mm.ops").reason()
    except Exception as error:
        text = f"bam_mm.ops cannot choose them ({_line(error)})"
        return Finding(name, False, text, remedies.install())
    used = "torchvision" if reason else "mmcv (compiled)"
    if reason == finder.NOT_BUILT:
        used = "torchvision (mmcv has none compiled)"
    try:
        text = f"{used}: {_compute_with_operators()}"
    except Exception as error:
        text = f"{used}: they do not work ({_line(error)})"
        remedy = remedies.pip_install("--force-reinstall torch torchvision")
        return Finding(name, False, text, remedy if reason else remedies.compile_operators())
    if reason in ("", finder.NOT_BUILT):
        return Finding(name, True, text)
    if reason == finder.WITHOUT_CUDA:
        return Finding(name, True, f"{text}; {reason}, so torchvision's are used")
    remedy = f"{remedies.compile_operators()}\nor, for torchvision's alone: "
    return Finding(name, False, f"{reason}; {text}", remedy + remedies.remove_operators())


def _compute_with_operators() -> str:
    """Run nms and roi_align on inputs with known results, on the CPU and on a GPU that works.

    Raises:
        RuntimeError: If a result is wrong.
    """
    import torch

    ops = importlib.import_module("mmcv.ops")
    gpu = torch.cuda.is_available() and not _load_file("launch/gpu.py").kernel_fault()
    devices = ["cpu", "cuda"] if gpu else ["cpu"]
    for device in devices:
        boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30]], device=device)
        _, kept = ops.nms(boxes, torch.tensor([0.9, 0.8, 0.7], device=device), 0.5)
        if kept.tolist() != [0, 2]:
            raise RuntimeError(f"nms keeps {kept.tolist()} instead of [0, 2] on {device}")
        ramp = torch.arange(8.0, device=device).expand(1, 1, 8, 8).contiguous()
        rois = torch.tensor([[0.0, 0, 0, 4, 4]], device=device)
        # Bin centres lie at x = 1 and 3; aligned sampling reads the ramp at x - 0.5.
        values = ops.roi_align(ramp, rois, (2, 2), 1.0, 2, "avg", True)[0, 0, 0].tolist()
        if max(abs(values[0] - 0.5), abs(values[1] - 2.5)) > 1e-5:
            raise RuntimeError(f"roi_align returns {values} instead of [0.5, 2.5] on {device}")
    return f"nms and roi_align return correct results on {' and '.join(devices)}"


def check_disk(free_bytes: int | None = None) -> Finding:
    """Check that there is enough disk space for data and checkpoints."""
    free = shutil.disk_usage(Path.cwd()).free if free_bytes is None else free_bytes
    text = f"{free / 1e9:.1f} GB free here, {DISK_NEEDED_GB} GB needed for data and checkpoints"
    return Finding("disk", free / 1e9 >= DISK_NEEDED_GB, text, "rm -rf work_dirs/*/epoch_*.pth")


def examine() -> list[Finding]:
    """Run all checks, in the order in which faults should be fixed."""
    return [
        check_python(),
        check_torch(),
        check_gpu(),
        check_mm_packages(),
        check_transformers(),
        check_opencv(),
        check_import("bam_mm", "bam-mm"),
        check_operators(),
        check_import("timm", "timm"),
        check_import("sklearn", "scikit-learn"),
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
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    findings = examine()
    for finding in findings:
        print(f"{'ok   ' if finding.ok else 'FAULT'} {finding.name:15s} {finding.text}")
        if not finding.ok:
            remedy = finding.remedy.replace("\n", f"\n{'':27s}")
            print(f"      {'':15s} fix: {remedy}")
    faults = sum(not finding.ok for finding in findings)
    if faults:
        print(f"{faults} fault{'s' * (faults > 1)}; fix the first one first")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
