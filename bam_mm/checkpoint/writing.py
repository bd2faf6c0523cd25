"""Files that are written whole or not at all, and the newest checkpoint that is whole."""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from bam_mm.errors import InputError

PARTIAL = ".partial"
"""Ending of a file that is being written."""

_CHECKPOINT = re.compile(r"(epoch|iter)_(\d+)\.pth")


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file so that at any moment it is the old one, or the new one, or (not yet) there.

    The content goes to ``<path>.partial`` first, to the disk, and then takes the name.

    Args:
        path: File to write; its folder is made.
        content: All of it.

    Raises:
        InputError: If it cannot be written, with the reason. What was at ``path`` is still there.
    """
    path = Path(path)
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(
            f"{path} ({len(content) / 1e6:.1f} MB) is not written: {error.strerror}. What was "
            "saved before is untouched: make room or choose another --work-dir, and go on with "
            "--resume"
        ) from error


def _sync_folder(folder: Path) -> None:
    # The new name has to reach the disk as well, or a power cut takes it back.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class WholeFilesBackend(LocalBackend):
    """mmengine's local files, written by :func:`write_whole`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        write_whole(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text."""
        write_whole(filepath, obj.encode(encoding))


def write_whole_files() -> None:
    """Make mmengine write every local file by :func:`write_whole`."""
    register_backend("local", WholeFilesBackend, force=True, prefixes="")


def remove_partial_files(folder: str | Path) -> list[Path]:
    """Delete what a killed run left half written; returns what was there."""
    partial = sorted(Path(folder).glob(f"*.pth{PARTIAL}"))
    for path in partial:
        path.unlink()
    return partial


def checkpoint_fault(path: str | Path) -> str | None:
    """Why a checkpoint is not whole, None where it is.

    torch's files are ZIP archives with a checksum an entry, so that a file cut short or damaged is
    noticed without loading it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)
    return f"{damaged} in it does not match its checksum" if damaged else None


def newest_checkpoint(work_dir: str | Path) -> tuple[Path | None, dict[Path, str]]:
    """The newest whole ``epoch_N.pth`` or ``iter_N.pth`` of a run.

    mmengine's ``last_checkpoint`` file is not asked: a run killed at the wrong moment has written
    one of the two, and not the other.

    Args:
        work_dir: Folder of the run.

    Returns:
        The path, None without any; and why each newer one was passed over.
    """
    found = []
    for path in Path(work_dir).glob("*.pth"):
        if match := _CHECKPOINT.fullmatch(path.name):
            found.append((path.stat().st_mtime_ns, int(match[2]), path))
    faults = {}
    # A higher number is a later state, whenever it was copied here; iter_N and epoch_N of one run
    # are told apart by time.
    kinds = {path.name.split("_")[0] for *_, path in found}
    key = (lambda entry: entry[1]) if len(kinds) == 1 else (lambda entry: entry[0])
    for *_, path in sorted(found, key=key, reverse=True):
        fault = checkpoint_fault(path)
        if fault is None:
            return path, faults
        faults[path] = fault
    return None, faults
