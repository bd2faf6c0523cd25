"""Finding configs by name, and the environment of child processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bam_mm import InputError
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import PACKAGE, child_environment, config_names, find_config, shown
from bam_mm.registry import CONFIGS

NAME = "cls/vit-toy-p8_knn_toy"
FILE = Path(__file__).resolve().parents[2] / f"configs/{NAME}.py"


@pytest.mark.parametrize(
    "name",
    [NAME, f"{NAME}.py", f"configs/{NAME}.py", f"bam_mm::{NAME}.py", "vit-toy-p8_knn_toy"],
)
def test_a_config_is_found_by_name_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == FILE and find_config(name).is_file()


def test_a_file_at_the_path_comes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/cls").mkdir(parents=True)
    own = tmp_path / f"configs/{NAME}.py"
    own.write_text("max_epochs = 7\n")
    assert load_config(f"configs/{NAME}.py").max_epochs == 7
    assert find_config(NAME) == FILE
    monkeypatch.chdir("/")
    assert find_config(f"configs/{NAME}.py", near=tmp_path) == own


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match=r"vit-toy-p8_kn_toy does not exist.*did you mean .*knn"):
        find_config("cls/vit-toy-p8_kn_toy")
    with pytest.raises(InputError, match=r"config 4711 does not exist.*choose one of "):
        find_config("4711")


def test_a_short_name_of_several_configs_is_refused(monkeypatch):
    monkeypatch.setattr("bam_mm.launch.paths.config_names", lambda: ["cls/same", "det/same"])
    with pytest.raises(
        InputError, match="several have this name; add the folder: cls/same, det/sa"
    ):
        find_config("same")


def test_all_configs_have_names_of_their_own():
    names = [Path(name).name for name in config_names()]
    assert len(set(names)) == len(names) > 60
    assert not any(name.startswith(("_base_", "suites")) for name in config_names())


def test_a_config_of_the_package_is_shown_by_its_name():
    assert shown(CONFIGS / f"{NAME}.py") == f"configs/{NAME}.py"
    assert shown(Path("/elsewhere/own.py")) == "/elsewhere/own.py"


def test_a_child_process_imports_this_package_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    # -S leaves out site-packages, where this package may be installed.
    code = "import importlib.util, os; print(importlib.util.find_spec('bam_mm').origin)"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"{code}; print(os.environ['BOX'])"],
        cwd=tmp_path, env=child_environment({"BOX": "7"}), capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(PACKAGE / "__init__.py"), "7"]
    assert child_environment()["PYTHONPATH"].split(os.pathsep) == [str(PACKAGE.parent), "/nowhere"]
