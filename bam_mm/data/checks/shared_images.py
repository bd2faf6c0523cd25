"""Images that two data sets share, wherever their folders are linked from."""

from __future__ import annotations

import os
from typing import Any


def shared_images(first: Any, second: Any) -> list[str]:
    """Find the images of a data set that are in another one, too.

    Args:
        first: Data set of mmengine, whose images are files of their own.
        second: Another one.

    Returns:
        Sorted paths of the files, with all links resolved; empty if images are not single files.
    """
    return sorted(_files(first) & _files(second))


def _files(dataset: Any) -> set[str]:
    found = (dataset.get_data_info(number).get("img_path") for number in range(len(dataset)))
    folders: dict[str, str] = {}
    files = set()
    for path in filter(None, found):
        folder, name = os.path.split(os.fspath(path))
        # Resolving a path asks for each of its parts, so that of a folder is asked for once.
        if folder not in folders:
            folders[folder] = os.path.realpath(os.path.expanduser(folder))
        whole = os.path.join(folders[folder], name)
        files.add(os.path.realpath(whole) if os.path.islink(whole) else whole)
    return files
