"""Every config in the repository: it builds, and runs one iteration at reduced size."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from bam_mm.data.toy import make_world

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "configs"
EVERY_FILE = sorted(FOLDER.rglob("*.py"))
CONFIGS = [path for path in EVERY_FILE if "_base_" not in path.parts]


@pytest.fixture(autouse=True)
def unformatted_dumps(monkeypatch):
    """mmengine formats each config four times for its log, a second a run."""
    monkeypatch.setattr(Config, "pretty_text", "")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.01)
    # The CIFAR configs call their second split "test".
    (out / "images/test").symlink_to(out / "images/val")
    return out


def room_of(path):
    """Folder of a config below ``configs``; it has a module of the same name here."""
    return path.relative_to(FOLDER).parts[0]


def runner_of(room):
    """The function that runs a config of a room for one iteration."""
    try:
        return importlib.import_module(f"tests.configs.running.{room}").run
    except ModuleNotFoundError as error:
        raise AssertionError(
            f"configs/{room} is a folder that no test runs: write tests/configs/running/{room}.py"
        ) from error


def parents(config_file, depth=1):
    """Depth of the inheritance of a config file, itself included."""
    found = re.search(r"^_base_ = (\[.*?\]|.*?$)", config_file.read_text(), flags=re.M | re.S)
    bases = ast.literal_eval(found[1]) if found else []
    bases = [bases] if isinstance(bases, str) else bases
    # A file of mmdet counts as one level; what it inherits from is not ours.
    ours = [b for b in bases if "::" not in b]
    deepest = [parents((config_file.parent / b).resolve(), depth + 1) for b in ours]
    return max([depth, *deepest, *([depth + 1] if len(ours) < len(bases) else [])])


def test_there_are_configs():
    rooms = [room_of(path) for path in CONFIGS]
    assert rooms.count("pretrain") >= 26 and rooms.count("vos") >= 5 and rooms.count("cls") >= 50
    assert rooms.count("det") >= 7 and rooms.count("seg") >= 10


def test_depth_of_inheritance_is_seen(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text('_base_ = [\n    "./a.py",\n]\n')
    (tmp_path / "c.py").write_text('_base_ = "./b.py"\n')
    (tmp_path / "d.py").write_text('_base_ = ["./a.py", "mmdet::x.py"]\n')
    (tmp_path / "e.py").write_text('_base_ = ["./d.py"]\n')
    assert [parents(tmp_path / f"{name}.py") for name in "abcde"] == [1, 2, 3, 2, 3]


def test_a_folder_without_a_test_is_noticed():
    with pytest.raises(AssertionError, match=r"configs/poetry .* tests/configs/running/poetry\.py"):
        runner_of("poetry")


@pytest.mark.parametrize("path", EVERY_FILE, ids=lambda p: p.stem)
def test_inheritance_is_at_most_three_levels(path):
    assert parents(path) <= 3


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{room_of(p)}-{p.stem}")
def test_config_runs_one_iteration(path, world, tmp_path):
    runner_of(room_of(path))(path, world, tmp_path)
