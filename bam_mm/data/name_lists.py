"""Text files with one name per line, whatever bytes the names are made of.

Names of files are bytes. Python reads those that are not UTF-8 (an archive of another system,
unpacked by ``unzip``) as text with lone surrogates, which a plain text file cannot hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def read_names(path: str | Path) -> list[str]:
    """Read the lines of a file that are not empty, without spaces around them.

    Args:
        path: File in UTF-8, with or without a byte-order mark. Other bytes are kept as Python
            keeps them in names of files.
    """
    text = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")
    # Not splitlines(), which also cuts at characters that a name may hold.
    return [line.strip() for line in text.split("\n") if line.strip()]


def write_names(path: str | Path, names: Iterable[str]) -> None:
    """Write one name per line, with the bytes of the files' names."""
    text = "".join(f"{name}\n" for name in names)
    Path(path).write_bytes(text.encode(errors="surrogateescape"))
