"""Fixtures for tests of the tools."""

import runpy
import sys
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch, capfd):
    """A function that runs a tool in this process and returns exit code, output and error lines."""

    def run(name, *args, options=None):
        argv = [str(ROOT / "tools" / name), *map(str, args)]
        if options is not None:
            argv += ["--cfg-options", *map(str, options)]
        monkeypatch.setattr(sys, "argv", argv)
        # State that normally ends with the process must not reach the next tool: an earlier logger
        # writes to a closed stream, and two runs of a config within one second have the same
        # experiment name, so that mmengine would reuse the first visualizer (and its folder).
        # Each class has instances of its own, also mmdet's and mmseg's visualizers.
        for kind in (MMLogger, MessageHub, Visualizer, *Visualizer.__subclasses__()):
            kind._instance_dict.clear()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(argv[0], run_name="__main__")
        out, err = capfd.readouterr()
        return stop.value.code, out + err, [x for x in err.splitlines() if x.startswith("error: ")]

    return run
