"""What an earlier run has left in a work folder, kept apart from a new run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from bam_mm.errors import InputError

_SAVED = re.compile(r"(epoch|iter)_(\d+)\.pth|best_.+\.pth|train_facts\.json")
_LOG = re.compile(r"\d{8}_\d{6}")


def earlier_files(
    folder: str | Path, *, log_dir: str | Path = "", resumed: tuple[int, int] | None = None
) -> list[Path]:
    """List what does not belong to the run that is going to save in a folder.

    Args:
        folder: Work folder, or another folder of checkpoints.
        log_dir: Folder of the run's own log.
        resumed: Epochs and iterations of the checkpoint in this folder from which the run was
            resumed; None for a new run, and for one resumed from a checkpoint elsewhere.

    Returns:
        For a resumed run, the later checkpoints. For a new run, all checkpoints and facts of
        earlier trainings and their logs.
    """
    found = []
    for path in sorted(Path(folder).glob("*")):
        match = _SAVED.fullmatch(path.name)
        if match and (resumed is None or _is_later(match, resumed)):
            found.append(path)
        own = path.name == Path(log_dir).name
        if resumed is None and _LOG.fullmatch(path.name) and not own:
            found += [path] if (path / "vis_data").is_dir() else []
    return found


def set_aside(paths: Sequence[Path]) -> Path:
    """Move files of an earlier run to a new folder ``earlier-N`` beside them.

    Args:
        paths: Files and folders of one folder.

    Returns:
        The new folder.

    Raises:
        InputError: If they cannot be moved.
    """
    folder = paths[0].parent
    numbers = [int(m[1]) for p in folder.glob("*") if (m := re.fullmatch(r"earlier-(\d+)", p.name))]
    target = folder / f"earlier-{max(numbers, default=0) + 1}"
    try:
        target.mkdir()
        for path in paths:
            path.rename(target / path.name)
    except OSError as error:
        raise InputError(
            f"{folder} holds {len(paths)} files of an earlier run, which cannot be moved to "
            f"{target.name} ({error.strerror}): choose another --work-dir"
        ) from error
    return target


def _is_later(match: re.Match, resumed: tuple[int, int]) -> bool:
    if match[1] is None:  # The best checkpoint and the facts of the same run.
        return False
    return int(match[2]) > resumed[match[1] == "iter"]
