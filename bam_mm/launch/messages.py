"""Running tools: one message and exit code 1 for user errors, a traceback for defects."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version

from bam_mm.errors import InputError
from bam_mm.launch.watching import end_with_the_watched

DISPLAY_LIBRARIES = ("libGL", "libgthread", "libglib", "libxcb", "libSM", "libXext")
"""Libraries that opencv-python needs, and servers and containers may lack."""


def run_tool(main: Callable[[], int | None]) -> None:
    """Run the ``main`` function of a tool and exit with its code.

    Args:
        main: Function that returns the exit code; None means 0.
    """
    end_with_the_watched()
    try:
        code = main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except ImportError as error:
        if not any(library in str(error) for library in DISPLAY_LIBRARIES):
            raise
        print(
            f"error: OpenCV needs a library of displays that this machine lacks ({error}); install "
            f"the one that does not: {sys.executable} -m pip install --force-reinstall --no-deps "
            f"opencv-python-headless=={version('opencv-python')}",
            file=sys.stderr,
        )
        code = 1
    except KeyboardInterrupt:
        print("interrupted; a training continues with --resume", file=sys.stderr)
        code = 130
    sys.exit(code or 0)
