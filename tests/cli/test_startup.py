"""`import bam_mm` and the --help of every command import no heavy packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bam_mm.cli.main import COMMANDS, main
from bam_mm.registry import FORMS

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "torchvision", "mmcv", "mmpretrain", "mmdet", "mmseg", "timm", "sklearn", "scipy",
    "matplotlib", "cv2", "PIL", "pandas", "pycocotools", "safetensors",
}  # fmt: skip
HELP = """
import runpy
sys.argv = [{tool!r}, *{arguments!r}, "--help"]
try:
    runpy.{run}({tool!r}, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""


def imported(code):
    """Return the top-level modules that some code imports in a new interpreter."""
    code = f"import json, sys\n{code}\nprint()\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return {name.split(".")[0] for name in json.loads(run.stdout.splitlines()[-1])}


def test_importing_the_package_imports_nothing_heavy():
    modules = imported("import bam_mm\nassert 'BAM' in bam_mm.__all__")
    assert "mmengine" in modules and not modules & HEAVY


@pytest.mark.parametrize(
    "arguments",
    [["features"], ["segment-video"], ["attention"], ["benchmark", "run"]],
    ids=" ".join,
)
def test_the_help_names_every_form_of_a_backbone(arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bam-mm", *arguments, "--help"])
    with pytest.raises(SystemExit):
        main()
    text = " ".join(capsys.readouterr().out.split())
    for form in FORMS.split(", "):
        assert form in text, form
    if arguments == ["features"]:
        assert "{cls,cls+mean,mean,own}" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_imports_nothing_heavy(name):
    modules = imported(HELP.format(run="run_module", tool="bam_mm", arguments=[name]))
    assert "bam_mm" in modules and not modules & HEAVY


@pytest.mark.parametrize("tool", ["tools/train.py", "tools/demo.py"])
def test_help_of_a_tool_imports_nothing_heavy(tool):
    modules = imported(HELP.format(run="run_path", tool=tool, arguments=[]))
    assert "bam_mm" in modules and not modules & HEAVY


@pytest.mark.slow
def test_no_line_on_a_service_that_nothing_uses():
    """mmpretrain, mmdet and mmseg print one whenever they are imported."""
    code = """
from importlib import import_module

from bam_mm.launch import run_tool

def libraries():
    for name in ("mmpretrain", "mmdet", "mmseg"):
        import_module(f"{name}.datasets")
    print("done")

run_tool(libraries)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout == "done\n", run.stdout + run.stderr
