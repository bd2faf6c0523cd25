"""Fixtures for tests of the tools."""

import pytest

from tests.end_to_end.running import exit_code_of, printed


@pytest.fixture
def tool(capfd):
    """A function that runs a tool in this process and returns exit code, output and error lines."""

    def run(name, *args, options=None):
        more = [] if options is None else ["--cfg-options", *options]
        return exit_code_of(name, *args, *more), *printed(capfd)

    return run
