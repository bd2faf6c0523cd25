"""Fixtures for tests of the tools."""

import runpy
import sys
from pathlib import Path

import pytest

from tests.end_to_end.running import forget_earlier_runs, printed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch, capfd):
    """A function that runs a tool in this process and returns exit code, output and error lines."""

    def run(name, *args, options=None):
        argv = [str(ROOT / "tools" / name), *map(str, args)]
        if options is not None:
            argv += ["--cfg-options", *map(str, options)]
        monkeypatch.setattr(sys, "argv", argv)
        forget_earlier_runs()
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(argv[0], run_name="__main__")
        return stop.value.code, *printed(capfd)

    return run
