"""Run another library's script with bam_mm imported before it.

The script then finds this package's configs (``_base_ = 'bam_mm::...'``), its registered types, and
detection operators where mmcv has none compiled. With LIBRARY:NAME, the script is the library's own
tool, as in: bam-mm exec mmdet:test CONFIG CHECKPOINT
"""

from __future__ import annotations

import argparse
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

from bam_mm.errors import InputError, listing
from bam_mm.launch.former_matplotlib import accept_former_calls
from bam_mm.launch.library_errors import translated


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("script", help="Python file, or LIBRARY:NAME, as in mmpretrain:train")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="arguments of the script")
    args = parser.parse_args()
    path = find_script(args.script)
    sys.argv = [str(path), *args.arguments]
    # As Python does for a script; some import files beside them.
    sys.path.insert(0, str(path.resolve().parent))
    accept_former_calls(path)
    try:
        runpy.run_path(str(path), run_name="__main__")
    except Exception as error:
        if isinstance(error, FileNotFoundError):
            _explain_missing(args, str(error))
        if ":" in args.script and (message := translated(error)):
            raise message from error
        raise


def _explain_missing(args: argparse.Namespace, text: str) -> None:
    """Raise the message for an argument of a library's tool that is the path of no file."""
    for given in args.arguments if ":" in args.script else ():
        path = Path(given.rpartition("=")[2])
        if not path.exists() and (str(path) in text or str(path.absolute()) in text):
            raise InputError(
                f"bam-mm exec {args.script}: {path} does not exist; pass the path of a file, also "
                "for a config of this package"
            )


def find_script(name: str) -> Path:
    """Find a script.

    Args:
        name: Path of a Python file, or ``LIBRARY:NAME`` for ``tools/NAME.py`` of an OpenMMLab
            library, which it installs in its folder ``.mim``.

    Raises:
        InputError: If there is no such file or library.
    """
    library, colon, tool = name.partition(":")
    if not colon or Path(name).is_file():
        if not Path(name).is_file():
            raise InputError(
                f"bam-mm exec {name}: no such file; pass a Python file, or LIBRARY:NAME as in "
                "mmdet:test"
            )
        return Path(name)
    spec = find_spec(library) if library.isidentifier() else None
    if spec is None or spec.origin is None:
        raise InputError(f"bam-mm exec {name}: no package {library!r} is installed")
    tools = Path(spec.origin).parent / ".mim/tools"
    path = tools / f"{tool}.py"
    if not path.is_file():
        known = sorted(str(p.relative_to(tools).with_suffix("")) for p in tools.rglob("*.py"))
        raise InputError(
            f"bam-mm exec {name}: {path} does not exist; {library} has "
            f"{listing(known, 12) or 'no tools'}"
        )
    return path
