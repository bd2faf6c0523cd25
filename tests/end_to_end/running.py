"""Helpers to run tools in this process, and to check what they printed and wrote."""

import json
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

from bam_mm.cli.main import main
from tests.pages import ROOT


def forget_earlier_runs():
    """Drop the state that normally ends with the process, before a tool runs in this one.

    An earlier logger writes to a closed stream, and two runs of a config within one second have the
    same experiment name, so that mmengine would reuse the first visualizer (and its folder). Each
    class has instances of its own, also mmdet's and mmseg's visualizers.
    """
    for kind in (MMLogger, MessageHub, Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.clear()


def exit_code(*args):
    """Run ``bam-mm ARGS`` in this process and return its exit code."""
    forget_earlier_runs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["bam-mm", *map(str, args)])
        patch.setattr(sys, "path", [*sys.path])
        with pytest.raises(SystemExit) as stop:
            main()
    return stop.value.code


def tool_of(library, name):
    """Return the path of a tool of mmpretrain, mmdet or mmseg, such as ``train``."""
    return Path(find_spec(library).origin).parent / ".mim/tools" / f"{name}.py"


def run_script(path, *args):
    """Run a Python file with arguments in this process, as ``python PATH ARGS`` does."""
    forget_earlier_runs()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(path), *map(str, args)])
        runpy.run_path(str(path), run_name="__main__")


def exit_code_of(name, *args):
    """Run a file of ``tools/`` in this process and return its exit code."""
    with pytest.raises(SystemExit) as stop:
        run_script(ROOT / "tools" / name, *args)
    return stop.value.code


def lay_out_quickly(patch):
    """Skip the layout of configs: a runner lays out its config four times, each for a second."""
    patch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, False))


def command(*args):
    """Run ``bam-mm ARGS`` in this process and check that it ends well."""
    assert exit_code(*args) == 0


def printed(capfd):
    """Return what a tool has printed since the last call, and its error lines."""
    out, err = capfd.readouterr()
    return out + err, [line for line in err.splitlines() if line.startswith("error: ")]


def one_message(result, *words):
    """Check for exit code 1, no traceback, and a single error line that contains the words."""
    code, text, errors = result
    assert code == 1 and len(errors) == 1 and "Traceback" not in text, text[-3000:]
    for word in words:
        assert word in errors[0], errors[0]


def losses(work):
    """Return the logged losses of the only run in a work folder."""
    [file] = Path(work).glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]
