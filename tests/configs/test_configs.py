"""Every config of the repository can be built and runs one iteration at reduced size."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from bam_mm.data.toy import make_world

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs"
EVERY_FILE = sorted(FOLDER.rglob("*.py"))
CONFIGS = [path for path in EVERY_FILE if "_base_" not in path.parts]


@pytest.fixture(autouse=True)
def unformatted_dumps(monkeypatch):
    """mmengine formats each config four times for its log, which takes a second per run."""
    monkeypatch.setattr(Config, "pretty_text", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.01)
    # The CIFAR configs call their second split "test".
    (out / "images/test").symlink_to(out / "images/val")
    return out


def folder_of(path):
    """Return the folder of ``configs`` that contains a config file."""
    return path.relative_to(FOLDER).parts[0]


def runner_of(folder):
    """Return the function that runs a config of a folder of ``configs`` for one iteration."""
    try:
        return importlib.import_module(f"tests.configs.running.{folder}").run
    except ModuleNotFoundError as error:
        raise AssertionError(
            f"no test runs the folder configs/{folder}: write tests/configs/running/{folder}.py"
        ) from error


def parents(config_file, depth=1):
    """Return the number of levels of inheritance of a config file, including the file itself."""
    found = re.search(r"^_base_ = (\[.*?\]|.*?$)", config_file.read_text(), flags=re.M | re.S)
    bases = ast.literal_eval(found[1]) if found else []
    bases = [bases] if isinstance(bases, str) else bases
    # A config of mmdet counts as one level, whatever it inherits from.
    ours = [b for b in bases if "::" not in b]
    deepest = [parents((config_file.parent / b).resolve(), depth + 1) for b in ours]
    return max([depth, *deepest, *([depth + 1] if len(ours) < len(bases) else [])])


def test_there_are_configs():
    folders = [folder_of(path) for path in CONFIGS]
    assert folders.count("pretrain") >= 26 and folders.count("cls") >= 50
    assert folders.count("det") >= 7 and folders.count("seg") >= 10 and folders.count("vos") >= 5


def test_levels_of_inheritance_are_counted(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text('_base_ = [\n    "./a.py",\n]\n')
    (tmp_path / "c.py").write_text('_base_ = "./b.py"\n')
    (tmp_path / "d.py").write_text('_base_ = ["./a.py", "mmdet::x.py"]\n')
    (tmp_path / "e.py").write_text('_base_ = ["./d.py"]\n')
    assert [parents(tmp_path / f"{name}.py") for name in "abcde"] == [1, 2, 3, 2, 3]


def test_a_folder_without_a_test_is_reported():
    with pytest.raises(
        AssertionError, match=r"configs/poetry: .* tests/configs/running/poetry\.py"
    ):
        runner_of("poetry")


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda p: p.stem)
def test_inheritance_is_at_most_three_levels(path):
    assert parents(path) <= 3


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{folder_of(p)}-{p.stem}")
def test_config_runs_one_iteration(path, world, tmp_path):
    runner_of(folder_of(path))(path, world, tmp_path)
