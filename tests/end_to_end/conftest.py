"""Fixtures of the tools' tests."""

import runpy
import sys
from pathlib import Path

import pytest
from mmengine.logging import MessageHub, MMLogger
from mmengine.visualization import Visualizer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch, capfd):
    """Run a tool in this process: its exit code, its output, and its error lines."""

    def run(name, *args, options=None):
        argv = [str(ROOT / "tools" / name), *map(str, args)]
        if options is not None:
            argv += ["--cfg-options", *map(str, options)]
        monkeypatch.setattr(sys, "argv", argv)
        # What ends with a process must not reach the next tool: an earlier logger writes to a
        # stream that is closed by now, and two runs of a config within one second share their
        # experiment's name, by which mmengine would hand the first one's visualizer (and so its
        # folder) to the second.
        for kind in (MMLogger, MessageHub, Visualizer):
            kind._instance_dict.clear()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(argv[0], run_name="__main__")
        out, err = capfd.readouterr()
        return stop.value.code, out + err, [x for x in err.splitlines() if x.startswith("error: ")]

    return run
