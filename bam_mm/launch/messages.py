"""Running tools: one message and exit code 1 for user errors, a traceback for defects."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from typing import Any

import mmengine.logging

from bam_mm.errors import InputError, SharedError
from bam_mm.launch.watching import end_with_the_watched

DISPLAY_LIBRARIES = ("libGL", "libgthread", "libglib", "libxcb", "libSM", "libXext")
"""Libraries that opencv-python needs, and servers and containers may lack."""

NOT_WRITABLE = frozenset(
    number
    for name in ("EROFS", "ENOSPC", "EDQUOT", "EACCES", "EPERM", "ENOTDIR", "EISDIR")
    if (number := getattr(errno, name, None)) is not None
)
"""Errors of files that a user can fix: no space, no permission, no such kind of place."""

FULL = frozenset((errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)))
"""Those of a disk or quota that is full; Python does not always know the file."""


def run_tool(main: Callable[[], int | None]) -> None:
    """Run the ``main`` function of a tool and exit with its code.

    Args:
        main: Function that returns the exit code; None means 0.
    """
    end_with_the_watched()
    for stream in (sys.stdout, sys.stderr):
        write_any_name(stream)
    # A line of the log that a full disk does not take is lost, without a traceback for each.
    logging.raiseExceptions = False
    _hide_the_note_on_onedl()
    try:
        code = main()
    except InputError as error:
        if not isinstance(error, SharedError) or _is_first_process():
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
    except Exception as error:
        fault = _file_fault(error)
        if fault is None:
            raise
        print(f"error: {fault}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted; a training continues with --resume", file=sys.stderr)
        code = 130
    sys.exit(code or 0)


def write_any_name(stream: Any) -> None:
    r"""Let a text stream write names of files that are not UTF-8, as in ``caf\\udce9.png``.

    Args:
        stream: Open stream; those that cannot be changed are left as they are.
    """
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")


def _hide_the_note_on_onedl() -> None:
    """Drop a line that mmpretrain, mmdet and mmseg print whenever they are imported.

    It is a debug message, that a service is missing which this package does not use. ``print_log``
    prints it all the same, because it gets no logger.
    """
    print_log = mmengine.logging.print_log

    @wraps(print_log)
    def without_it(msg: Any, logger: Any = None, level: int = logging.INFO) -> None:
        if logger is not None or not str(msg).startswith("Could not import OneDL"):
            print_log(msg, logger=logger, level=level)

    mmengine.logging.print_log = without_it


def _file_fault(error: BaseException) -> str | None:
    """Return the message about a file that cannot be written or read, which caused an error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in NOT_WRITABLE:
            if cause.filename is not None:
                place = cause.filename2 or cause.filename
                return f"{place}: {cause.strerror}; choose another place, or free this one"
            if cause.errno in FULL:
                return f"a file is not written: {cause.strerror}; free disk space and run it again"
        cause = cause.__cause__ or cause.__context__
    return None


def _is_first_process() -> bool:
    from bam_mm.distributed import rank

    return rank() == 0
