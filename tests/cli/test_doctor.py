"""The doctor distinguishes the faults of an installation and names a fix for each."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bam_mm.cli import doctor
from bam_mm.ops import finder

TOOL = Path(__file__).resolve().parents[2] / "tools/doctor.py"
remedies = doctor.remedies
FORKS = dict(remedies.FORKS.values())
UPSTREAM = dict(remedies.UPSTREAM.values())
TORCH = {"torch": "2.11.0", "torchvision": "0.26.0"}
OPENCV = {"opencv-python": "4.12.0.88", "opencv-python-headless": "4.12.0.88"}
HEALTHY = SimpleNamespace(gpu_fault=lambda: "", kernel_fault=lambda: "")


@pytest.fixture(autouse=True)
def own_python_of_a_checkout(monkeypatch):
    """Let the remedies be those after ``make install``, in whatever Python the tests run."""
    set_place(monkeypatch, checkout=True, own=True, installed=True)


def set_place(monkeypatch, *, checkout, own, installed, environment=False):
    monkeypatch.setattr(remedies, "ENVIRONMENT", environment)
    monkeypatch.setattr(remedies, "CHECKOUT", checkout)
    monkeypatch.setattr(remedies, "OWN", own)
    monkeypatch.setattr(remedies, "INSTALLED", installed)
    monkeypatch.setattr(remedies, "PIP", "python -m pip")


def choosing(reason):
    """Return a function that loads the real finder, and operators chosen for this reason."""
    return {"bam_mm.ops.finder": finder, "bam_mm.ops": SimpleNamespace(reason=lambda: reason)}.get


def test_this_installation_has_no_fault():
    findings = doctor.examine()
    for finding in findings:
        assert finding.ok, finding
    texts = {finding.name: finding.text for finding in findings}
    assert "nms and roi_align return correct results on cpu" in texts["operators"]
    assert texts["operators"].startswith(("mmcv (compiled): ", "torchvision"))


def test_the_tool_runs_where_no_package_can_be_imported(tmp_path):
    command = [sys.executable, "-I", "-S", str(TOOL)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1 and run.stderr == ""
    faults = [line.split()[1] for line in run.stdout.splitlines() if line.startswith("FAULT")]
    assert faults == ["torch", "mm", "OpenCV", "bam_mm", "operators", "timm", "sklearn"]
    assert run.stdout.count(" fix: ") == len(faults)


def test_which_operators_are_in_use():
    compiled = doctor.check_operators(choosing(""))
    assert compiled.ok and compiled.text.startswith("mmcv (compiled): nms and roi_align")
    none = doctor.check_operators(choosing(finder.NOT_BUILT))
    assert none.ok and none.text.startswith("torchvision (mmcv has none compiled): nms and")


def test_operators_built_for_another_torch():
    line = "_ext.so: undefined symbol: _ZN3c106detail14torchCheckFailE"
    finding = doctor.check_operators(choosing(finder.OTHER_TORCH.format(line)))
    assert not finding.ok and finding.text.startswith("mmcv's operators were built for another")
    assert "undefined symbol" in finding.text and "torchvision: nms" in finding.text
    compiling, pure = finding.remedy.splitlines()
    assert compiling == "make ops"
    assert "MMCV_WITH_OPS=0" in pure and "--no-build-isolation" not in pure


def test_operators_without_cuda_beside_a_gpu_are_replaced():
    finding = doctor.check_operators(choosing(finder.WITHOUT_CUDA))
    assert finding.ok and finding.text.startswith("torchvision: nms and roi_align")
    assert finding.text.endswith("compiled without CUDA, and this machine has a GPU, so "
                                 "torchvision's are used")  # fmt: skip


def test_operators_with_wrong_results(monkeypatch):
    import mmcv.ops
    import torch

    roi_align = mmcv.ops.roi_align
    monkeypatch.setattr(mmcv.ops, "roi_align", lambda *args: roi_align(*args) + 1)
    finding = doctor.check_operators(choosing(""))
    assert not finding.ok and "roi_align returns [1.5, 3.5]" in finding.text
    assert finding.remedy == "make ops"
    monkeypatch.setattr(mmcv.ops, "nms", lambda *args: (None, torch.tensor([0, 1, 2])))
    finding = doctor.check_operators(choosing(finder.NOT_BUILT))
    assert not finding.ok and "nms keeps [0, 1, 2]" in finding.text
    assert finding.remedy.endswith("--force-reinstall torch torchvision")


def test_operators_that_cannot_be_chosen():
    def load(name):
        raise ModuleNotFoundError("No module named 'mmengine'")

    finding = doctor.check_operators(load)
    assert not finding.ok and "No module named 'mmengine'" in finding.text


def test_compiling_elsewhere_names_what_it_needs(monkeypatch):
    set_place(monkeypatch, checkout=True, own=False, installed=False)
    tools, _, command = remedies.compile_operators().partition(" && ")
    assert tools.endswith("setuptools wheel ninja") and command.startswith("MMCV_WITH_OPS=1 ")
    assert "--no-build-isolation" in command and "--no-cache-dir" in command


@pytest.mark.parametrize("family", [FORKS, UPSTREAM])
def test_one_complete_family_is_accepted(family):
    assert doctor.check_mm_packages(family.get).ok


def test_one_family_over_the_other():
    finding = doctor.check_mm_packages({**FORKS, "mmcv": "2.1.0"}.get)
    assert not finding.ok and finding.text.endswith("each other: onedl-mmcv over mmcv")
    uninstall, _, install = finding.remedy.partition(" && ")
    assert uninstall.endswith("uninstall -y " + " ".join([*FORKS, "mmcv"]))
    assert install == "python -m pip install -c constraints.txt -e '.[onedl]'"


def test_a_mixture_of_both_families():
    mixture = {**FORKS, "mmdet": "3.3.0"}
    del mixture["onedl-mmdetection"]
    finding = doctor.check_mm_packages(mixture.get)
    assert not finding.ok and "some packages come from the forks" in finding.text
    assert "mmdet 3.3.0" in finding.text and "uninstall -y" in finding.remedy


def test_missing_or_untested_versions():
    finding = doctor.check_mm_packages({**FORKS, "onedl-mmcv": "2.2.0"}.get)
    assert not finding.ok and "onedl-mmcv 2.2.0 (tested: 2.3.6)" in finding.text
    missing = dict(FORKS)
    del missing["onedl-mmsegmentation"]
    finding = doctor.check_mm_packages(missing.get)
    assert not finding.ok and "onedl-mmsegmentation missing" in finding.text
    finding = doctor.check_mm_packages({**UPSTREAM, "mmdet": "3.2.0"}.get)
    assert "mmdet 3.2.0 (tested: 3.3.0)" in finding.text and "[openmmlab]" in finding.remedy


def test_a_package_that_is_imported_from_elsewhere(monkeypatch, tmp_path):
    if remedies.version_of("onedl-mmpretrain") is None:
        pytest.skip("needs the forks")
    folder_of = remedies.folder_of
    (tmp_path / "mmpretrain").mkdir()
    monkeypatch.setattr(
        remedies,
        "folder_of",
        lambda name: tmp_path / name if name == "mmpretrain" else folder_of(name),
    )
    finding = doctor.check_mm_packages(FORKS.get)
    assert not finding.ok and f"imported from {tmp_path}/mmpretrain" in finding.text
    assert str(tmp_path) in finding.remedy


def test_torch_and_torchvision_must_match():
    assert doctor.check_torch(TORCH.get).ok
    finding = doctor.check_torch({**TORCH, "torchvision": "0.25.0"}.get)
    assert not finding.ok and "torch 2.11.0 needs torchvision 0.26, found 0.25.0" in finding.text
    finding = doctor.check_torch({"torchvision": "0.26.0"}.get)
    assert not finding.ok and finding.text == "torch is not installed"


@pytest.mark.parametrize(
    "checkout, own, installed, remedy",
    [
        (True, False, False, "make install"),
        # Here make would find that everything is up to date.
        (True, True, True, "python -m pip install -c constraints.txt -e '.[onedl]'"),
        (True, False, True, "python -m pip install -c constraints.txt -e '.[onedl]'"),
        (
            False,
            False,
            False,
            "python -m pip install -c constraints.txt '.[onedl]'  # in a checkout of the project",
        ),
    ],
)
def test_the_command_that_installs_depends_on_the_place(
    monkeypatch, checkout, own, installed, remedy
):
    set_place(monkeypatch, checkout=checkout, own=own, installed=installed)
    assert doctor.check_import("no_such_package_here", "no-such-package").remedy == remedy


def test_make_is_no_remedy_for_another_virtual_environment(monkeypatch):
    set_place(monkeypatch, checkout=True, own=False, installed=False, environment=True)
    assert remedies.install() == "python -m pip install -c constraints.txt -e '.[onedl]'"


def test_remedies_work_outside_the_checkout(monkeypatch):
    set_place(monkeypatch, checkout=True, own=True, installed=True)
    for name, value in (("PROJECT", "/src/bam"), ("CONSTRAINTS", "/src/bam/constraints.txt")):
        monkeypatch.setattr(remedies, name, value)
    monkeypatch.setattr(remedies, "MAKE", "make -C /src/bam")
    pip = "python -m pip install -c /src/bam/constraints.txt -e '/src/bam[onedl]'"
    assert remedies.install() == pip
    assert remedies.compile_operators() == "make -C /src/bam ops"


def test_python(monkeypatch):
    for version in ((3, 10, 0), (3, 11, 7), (3, 13, 9)):
        finding = doctor.check_python(version)
        assert finding.ok and "untested" not in finding.text
    newer = doctor.check_python((3, 14, 0))
    assert newer.ok and "(untested: 3.10 to 3.13 are tested)" in newer.text
    older = doctor.check_python((3, 9, 18))
    assert not older.ok and "3.9.18" in older.text and "PYTHON=python3.11" in older.remedy
    set_place(monkeypatch, checkout=True, own=False, installed=True)
    assert "not the one of make install" in doctor.check_python((3, 11, 7)).text


def test_transformers_that_mmpretrain_cannot_import():
    assert doctor.check_transformers({}.get).ok
    assert doctor.check_transformers({"transformers": "4.57.1"}.get).ok
    finding = doctor.check_transformers({"transformers": "5.17.0"}.get)
    assert not finding.ok and "transformers 5.17.0" in finding.text
    assert finding.remedy.endswith("install 'transformers<5'")


def test_opencv_distributions_share_their_files():
    finding = doctor.check_opencv(OPENCV.get)
    assert finding.ok and "opencv-python-headless 4.12.0.88 share its files" in finding.text
    assert "share" not in doctor.check_opencv({"opencv-python": "4.12.0.88"}.get).text
    mixed = {**OPENCV, "opencv-contrib-python": "4.11.0.86"}
    finding = doctor.check_opencv(mixed.get)
    assert not finding.ok and "opencv-contrib-python 4.11.0.86" in finding.text
    assert f"uninstall -y {' '.join(sorted(mixed, key=doctor.OPENCV.index))}" in finding.remedy


def test_opencv_that_cannot_be_imported(monkeypatch):
    # With None in sys.modules, the import statement raises ImportError.
    monkeypatch.setitem(sys.modules, "cv2", None)
    finding = doctor.check_opencv(OPENCV.get)
    assert not finding.ok and "cv2 cannot be imported" in finding.text
    assert finding.remedy.endswith("--no-deps --force-reinstall opencv-python-headless")


def test_a_gpu_that_torch_cannot_use():
    too_old = SimpleNamespace(gpu_fault=lambda: "the driver is too old; update it")
    finding = doctor.check_gpu(too_old)
    assert finding == doctor.Finding("GPU", False, "the driver is too old", "update it")
    unsupported = SimpleNamespace(
        gpu_fault=lambda: "", kernel_fault=lambda: "no kernels; install another torch"
    )
    finding = doctor.check_gpu(unsupported)
    assert finding == doctor.Finding("GPU", False, "no kernels", "install another torch")


def test_no_gpu_is_not_a_fault_and_the_names_of_gpus_are_shown(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert doctor.check_gpu(HEALTHY).ok and "CPU" in doctor.check_gpu(HEALTHY).text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Model X")
    assert doctor.check_gpu(HEALTHY) == doctor.Finding("GPU", True, "2 x Model X")


def test_disk():
    assert doctor.check_disk(50 * 10**9).ok
    finding = doctor.check_disk(10**9)
    assert not finding.ok and "1.0 GB free" in finding.text and finding.remedy.startswith("rm ")


def test_a_package_that_cannot_be_imported():
    finding = doctor.check_import("no_such_package_here", "no-such-package")
    assert not finding.ok and "No module named" in finding.text


def test_report_and_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["doctor.py"])
    good = doctor.Finding("other", True, "1.0")
    monkeypatch.setattr(doctor, "examine", lambda: [good])
    assert doctor.main() == 0 and capsys.readouterr().out == "ok    other           1.0\n"
    faulty = doctor.Finding("thing", False, "is broken", "repair thing\nor replace it")
    monkeypatch.setattr(doctor, "examine", lambda: [good, faulty])
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "FAULT thing           is broken\n" in out and "1 fault;" in out
    assert f"{'':22s}fix: repair thing\n{'':27s}or replace it\n" in out
