"""One message and exit code 1 for what the user can mend; a traceback for a defect."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bam_mm.errors import InputError
from bam_mm.launch.watching import end_with_the_watched


def run_tool(main: Callable[[], int | None]) -> None:
    """Run a tool's ``main`` and exit with its code.

    Args:
        main: Returns the exit code, None for 0.
    """
    end_with_the_watched()
    try:
        code = main()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("interrupted; start again with --resume to go on", file=sys.stderr)
        code = 130
    sys.exit(code or 0)
