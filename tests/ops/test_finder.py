"""Which ``mmcv._ext`` an interpreter gets, with small packages in mmcv's place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

LOADS = """
def nms(*args):
    return "compiled"
def get_compiling_cuda_version():
    return {cuda!r}
"""
MISSING = "mmcv was installed without compiled operators"
NO_CUDA = "mmcv's operators were compiled without CUDA, and this machine has a GPU"
WITH_GPU = "import torch\ntorch.cuda.is_available = lambda: True\n"
WITHOUT_GPU = WITH_GPU.replace("True", "False")
NMS = "mmcv._ext.nms(torch.tensor([[0.,0,4,4],[0,0,4,3]]), torch.tensor([.1,.2]), .5, 0).tolist()"


@pytest.fixture
def python(tmp_path):
    """Return a function that runs code beside a made mmcv, and returns the lines it prints."""

    def run(code, extension=None):
        (tmp_path / "mmcv").mkdir()
        (tmp_path / "mmcv/__init__.py").touch()
        if extension is not None:
            (tmp_path / "mmcv/_ext.py").write_text(extension)
        script = tmp_path / "script.py"
        script.write_text(code)
        path = os.pathsep.join([str(tmp_path), str(ROOT)])
        result = subprocess.run(
            [sys.executable, script],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    return run


def choice(before=""):
    """Return code that prints the backend, its reason, and the result of its nms."""
    return (
        f"{before}import bam_mm, bam_mm.ops, torch\nprint(bam_mm.ops.backend())\n"
        f"print(bam_mm.ops.reason())\nimport mmcv._ext\nprint({NMS})\n"
    )


def test_a_missing_extension_is_replaced(python):
    code = choice() + "import importlib.util\nprint(importlib.util.find_spec('mmcv._ext').origin)"
    expected = ["torchvision", MISSING, "[1]", "bam_mm.ops.torchvision_ops"]
    assert python(code) == expected


def test_looking_for_the_extension_loads_nothing(python):
    code = (
        "import sys, bam_mm\nfrom importlib.util import find_spec\n"
        "print(find_spec('mmcv._ext').name, find_spec('mmcv._other'))\n"
        "print({'torch', 'mmcv._ext'} & set(sys.modules))"
    )
    assert python(code, "raise SystemExit(3)") == ["mmcv._ext None", "set()"]


def test_an_extension_that_cannot_be_loaded_is_replaced(python):
    extension = "raise ImportError('_ext.so: undefined symbol: _ZN3c10\\nsecond line')"
    reason = "mmcv's operators were built for another torch (_ext.so: undefined symbol: _ZN3c10)"
    assert python(choice(), extension) == ["torchvision", reason, "[1]"]


def test_any_other_fault_of_an_extension_is_raised(python):
    code = (
        "import bam_mm.ops\ntry:\n    bam_mm.ops.backend()\nexcept RuntimeError as error:\n"
        "    print('raised', error)"
    )
    assert python(code, "raise RuntimeError('broken')") == ["raised broken"]


@pytest.mark.parametrize(
    "cuda, before", [("12.8", WITH_GPU), ("not available", WITHOUT_GPU)], ids=["cuda", "cpu"]
)
def test_an_extension_that_works_is_used_as_it_is(python, cuda, before):
    code = choice(before.replace("import", "import bam_mm,", 1)).replace(".tolist()", "") + (
        "from pathlib import Path\nmodule = mmcv._ext\nprint(Path(module.__file__).name)\n"
        "print(module.__spec__.loader is module.__loader__, type(module.__loader__).__name__)\n"
        "print(hasattr(module, 'softnms'))"
    )
    expected = ["mmcv", "", "compiled", "_ext.py", "True SourceFileLoader", "False"]
    assert python(code, LOADS.format(cuda=cuda)) == expected


def test_an_extension_without_cuda_is_replaced_beside_a_gpu(python):
    extension = LOADS.format(cuda="not available")
    assert python(choice(WITH_GPU), extension) == ["torchvision", NO_CUDA, "[1]"]


def test_an_extension_imported_before_bam_mm_stays(python):
    code = "import mmcv._ext\n" + choice().replace(".tolist()", "")
    assert python(code, LOADS.format(cuda="12.8")) == ["mmcv", "", "compiled"]


def test_without_mmcv_its_import_fails_as_ever(python):
    # PathFinder finds no mmcv at all, as in an environment without it.
    code = """
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "mmcv" else found(name, *rest)
def failures():
    for call in (import_module, find_spec):
        for name in ("mmcv._ext", "mmcv.ops"):
            try:
                call(name)
            except ModuleNotFoundError as error:
                yield call.__name__, name, str(error), error.name
before = list(failures())
import bam_mm.ops
print(len(before), before == list(failures()))
try:
    bam_mm.ops.backend()
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert python(code) == ["4 True", "mmcv"]


def test_one_finder_however_often_it_is_installed(python):
    code = """
import sys, bam_mm, bam_mm.ops
bam_mm.ops.install()
print(sum(type(finder).__name__ == "OperatorFinder" for finder in sys.meta_path))
print("torch" in sys.modules, "mmcv" in sys.modules)
"""
    assert python(code) == ["1", "False False"]


def test_threads_and_spawned_processes(python):
    # A spawned process starts with a new interpreter, and imports bam_mm with this script.
    code = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import bam_mm
def choice(_):
    import mmcv._ext
    import bam_mm.ops
    return bam_mm.ops.backend(), bam_mm.ops.reason(), id(mmcv._ext.nms)
if __name__ == "__main__":
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(choice, range(16)))
    print(len(set(found)), *found[0][:2])
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as processes:
        print(*next(processes.map(choice, [0]))[:2])
"""
    assert python(code) == [f"1 torchvision {MISSING}", f"torchvision {MISSING}"]
