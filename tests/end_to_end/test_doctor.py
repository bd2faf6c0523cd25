"""tools/doctor.py distinguishes the faults of an installation and names a fix for each."""

import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location(
    "doctor", Path(__file__).resolve().parents[2] / "tools/doctor.py"
)
doctor = importlib.util.module_from_spec(SPEC)
sys.modules["doctor"] = doctor
SPEC.loader.exec_module(doctor)

FORKS = dict(doctor.FORKS.values())
UPSTREAM = dict(doctor.UPSTREAM.values())
TORCH = {"torch": "2.11.0", "torchvision": "0.26.0"}


def test_this_installation_has_no_fault():
    for finding in doctor.examine():
        assert finding.ok, finding
    assert "nms and roi_align" in doctor.check_ops().text


def test_no_ops_built():
    def load(name):
        raise ModuleNotFoundError("No module named 'mmcv._ext'", name="mmcv._ext")

    finding = doctor.check_ops(load)
    assert not finding.ok and finding.text.startswith("no ops built")
    assert "--no-build-isolation" in finding.remedy and "--no-cache-dir" in finding.remedy


def test_ops_built_for_another_torch():
    def load(name):
        raise ImportError("_ext.so: undefined symbol: _ZN3c106detail14torchCheckFailE")

    finding = doctor.check_ops(load)
    assert not finding.ok and finding.text.startswith("ops built for another torch")
    assert "undefined symbol" in finding.text and "--force-reinstall" in finding.remedy


def test_ops_with_wrong_results(monkeypatch):
    import mmcv.ops
    import torch

    monkeypatch.setattr(mmcv.ops, "nms", lambda *a: (None, torch.tensor([0, 1, 2])))
    finding = doctor.check_ops()
    assert not finding.ok and "nms keeps [0, 1, 2]" in finding.text


@pytest.mark.parametrize("family", [FORKS, UPSTREAM])
def test_one_complete_family_is_accepted(family):
    assert doctor.check_mm_packages(family.get).ok


def test_one_family_over_the_other():
    finding = doctor.check_mm_packages({**FORKS, "mmcv": "2.1.0"}.get)
    assert not finding.ok and "onedl-mmcv over mmcv" in finding.text
    assert finding.remedy == "make clean && make install"


def test_a_mixture_of_both_families():
    mixture = {**FORKS, "mmdet": "3.3.0"}
    del mixture["onedl-mmdetection"]
    finding = doctor.check_mm_packages(mixture.get)
    assert not finding.ok and "some packages come from the forks" in finding.text


def test_missing_or_untested_versions():
    finding = doctor.check_mm_packages({**FORKS, "onedl-mmcv": "2.2.0"}.get)
    assert not finding.ok and "onedl-mmcv 2.2.0 (tested: 2.3.6)" in finding.text
    missing = dict(FORKS)
    del missing["onedl-mmsegmentation"]
    finding = doctor.check_mm_packages(missing.get)
    assert not finding.ok and "onedl-mmsegmentation missing" in finding.text


def test_torch_and_torchvision_must_match():
    assert doctor.check_torch(TORCH.get).ok
    finding = doctor.check_torch({**TORCH, "torchvision": "0.25.0"}.get)
    assert not finding.ok and "torch 2.11.0 needs torchvision 0.26, found 0.25.0" in finding.text
    finding = doctor.check_torch({"torchvision": "0.26.0"}.get)
    assert not finding.ok and finding.remedy == "make install"


def test_disk():
    assert doctor.check_disk(50 * 10**9).ok
    finding = doctor.check_disk(10**9)
    assert not finding.ok and "1.0 GB free" in finding.text and finding.remedy.startswith("rm ")


def test_a_package_that_cannot_be_imported():
    finding = doctor.check_import("no_such_package_here", "no-such-package")
    assert not finding.ok and "No module named" in finding.text


def test_report_and_exit_code(monkeypatch, capsys):
    faulty = doctor.Finding("thing", False, "is broken", "repair thing")
    monkeypatch.setattr(doctor, "examine", lambda ops_only=False: [faulty])
    monkeypatch.setattr(sys, "argv", ["doctor.py"])
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "FAULT thing" in out and "fix: repair thing" in out and "1 fault;" in out
