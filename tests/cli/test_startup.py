"""`import bam_mm` and a tool's --help import no heavy packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "torch", "torchvision", "mmcv", "mmpretrain", "mmdet", "mmseg", "timm", "sklearn", "scipy",
    "matplotlib", "cv2", "PIL", "pandas", "pycocotools", "safetensors",
}  # fmt: skip
HELP = """
import runpy
sys.argv = [{tool!r}, "--help"]
try:
    runpy.run_path({tool!r}, run_name="__main__")
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


@pytest.mark.parametrize("tool", ["tools/train.py", "tools/test.py", "tools/benchmark.py"])
def test_help_imports_nothing_heavy(tool):
    modules = imported(HELP.format(tool=tool))
    assert "bam_mm" in modules and not modules & HEAVY
