"""The command bam-mm: its list of commands, its messages, and what it starts."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bam_mm import InputError, __version__
from bam_mm.cli.main import COMMANDS, main, usage

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture
def call(monkeypatch, capsys):
    """A function that runs bam-mm in this process and returns exit code and output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bam-mm", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        return stop.value.code, *capsys.readouterr()

    return run


def test_every_tool_is_a_command():
    started = {
        line.split()[1].removeprefix("bam_mm.cli.")
        for tool in TOOLS.glob("*.py")
        for line in tool.read_text().splitlines()
        if line.startswith("from bam_mm.cli.")
    }
    assert started | {"doctor", "exec"} == {module for module, _ in COMMANDS.values()}


def test_help_lists_every_command_and_no_command_is_an_error(call):
    for arguments, code in (([], 2), (["--help"], 0), (["-h"], 0)):
        assert call(*arguments) == (code, usage() + "\n", "")
    assert all(f"\n  {name} " in usage() for name in COMMANDS)
    assert call("--version")[1] == f"bam-mm {__version__}\n"


def test_an_unknown_command_is_answered_with_the_nearest(call):
    code, _, err = call("bench", "run")
    assert code == 1 and err == "error: bam-mm bench: no such command; choose one of benchmark\n"


def test_a_command_gets_its_arguments_and_its_name(call, tmp_path):
    code, out, _ = call("toy-world", str(tmp_path / "toy"), "--scale", "0.01")
    assert code == 0 and f"{tmp_path}/toy: " in out
    assert call("subset", "--help")[1].startswith("usage: bam-mm subset [-h] --percent")
    code, _, err = call("subset", str(tmp_path))
    assert code == 2 and "bam-mm subset: error: the following arguments are required" in err


@pytest.mark.parametrize(
    "command",
    [
        *(["toy-world", "t"], ["subset", "t", "--percent", "1"], ["views", "c"], ["plot", "w"]),
        *(["features", "i", "--model", "m"], ["attention", "i", "--model", "m"]),
        *(["compare-videos", "c", "w"], ["segment-video", "v", "m", "--model", "m"]),
    ],
)
def test_an_impossible_seed_is_one_message(call, command):
    for seed in ("-1", "1.5", "4294967296"):
        code, _, err = call(*command, f"--seed={seed}")
        assert code == 2 and f"'{seed}' is no seed: write an integer from 0 to 2^32 - 1" in err


def test_places_that_cannot_be_written_to_stop_before_the_work(call, tmp_path):
    (tmp_path / "file").touch()
    inside, folder = str(tmp_path / "file/a"), str(tmp_path)
    random = ["--model", "random:vit-toy-p8"]
    for command in (["views", "c"], ["plot", "w"], ["features", "i", *random]):
        ending = ".npz" if "features" in command else ".png"
        assert "is a file, not a folder" in call(*command, "--out", inside + ending)[2]
        assert "is a folder: add the name of a file" in call(*command, "--out", folder)[2]
    for command in (["views", "c"], ["plot", "w"]):
        code, _, err = call(*command, "--out", str(tmp_path / "a.bogus"))
        assert code == 1 and "a.bogus: no format of this ending; choose one of .png, .pdf" in err
    for command in (["attention", "i", *random], ["segment-video", "v", "m", *random]):
        code, _, err = call(*command, "--out", str(tmp_path / "file"))
        assert code == 1 and "file is a file, not a folder; choose another" in err
    code, _, err = call("convert", "none.pth", folder, "--to", "timm")
    assert code == 1 and err == f"error: DST {folder} is a folder: add the name of a file\n"


def test_exec_names_a_config_that_the_tool_of_a_library_misses(call, tmp_path, monkeypatch):
    for name in ("path", "argv"):
        monkeypatch.setattr(sys, name, [*getattr(sys, name)])
    code, _, err = call("exec", "mmpretrain:misc/print_config", str(tmp_path / "none.py"))
    assert code == 1 and "print_config: " in err and "none.py does not exist" in err


def test_the_exit_code_of_a_command_is_passed_on(call, tmp_path):
    code, out, _ = call("check-data", "folder", str(tmp_path))
    assert code == 1 and "FAULT" in out


def test_the_module_is_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "bam_mm", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"bam-mm {__version__}\n"


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (["plot", "--similarities", "CONFIG", "CK"], "bam_mm.launch.config.load_config"),
        (["compare-videos", "CONFIG", "CK"], "bam_mm.launch.config.load_config"),
        (
            ["segment-video", "VIDEO", "MASK", "--model", "random:resnet50"],
            "bam_mm.suite.segment_video.segment_video",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_options_stay_texts_until_their_setting_is_known(command, place, call, monkeypatch):
    found = {}

    def keep(*values, options=None, **_):
        found.update(options or values[1])
        raise InputError("seen")

    monkeypatch.setattr(place, keep)
    code, _, err = call(*command, "--cfg-options", "data_root=2017", "model.topk=[5,7]")
    assert (code, err) == (1, "error: seen\n")
    # mmengine's DictAction makes a number of the folder.
    assert found == {"data_root": "2017", "model.topk": "[5,7]"}
    code, _, err = call(*command, "--cfg-options", "data_root")
    assert code == 1 and "--cfg-options data_root: expected KEY=VALUE" in err


def test_opencv_without_its_libraries_is_one_message(call, monkeypatch):
    def fails():
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(import_module("bam_mm.cli.subset"), "main", fails)
    code, _, err = call("subset")
    assert code == 1 and err.count("\n") == 1
    assert "libGL.so.1" in err and "opencv-python-headless" in err


def test_exec_runs_a_script_with_the_package_imported(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 3\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside\n"
        "assert __name__ == '__main__' and 'bam_mm' in sys.modules\n"
        "print(sys.argv[1:], beside.VALUE)\nsys.exit(5)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "bam_mm", "exec", str(script), "a", "--resume"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (5, "['a', '--resume'] 3\n"), done.stderr


@pytest.mark.parametrize(
    "script, message",
    [
        ("nowhere.py", "nowhere.py: no such file; pass a Python file, or LIBRARY:NAME"),
        ("nolibrary:test", "no package 'nolibrary' is installed"),
        ("mmdet:poetry", "poetry.py does not exist; mmdet has "),
    ],
)
def test_exec_names_what_it_does_not_find(call, script, message):
    code, _, err = call("exec", script)
    assert code == 1 and message in err and err.count("\n") == 1


def test_exec_finds_the_tools_of_a_library():
    from bam_mm.cli.exec import find_script

    assert find_script("mmdet:test").parts[-4:] == ("mmdet", ".mim", "tools", "test.py")
