"""Atomic writing of files, and finding the newest intact checkpoint."""

from __future__ import annotations

import os
import re
import uuid
import zipfile
from contextlib import suppress
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from bam_mm.errors import InputError

PARTIAL = ".partial"
"""Suffix of a file that is being written."""

_CHECKPOINT = re.compile(r"(epoch|iter)_(\d+)\.pth")


def write_whole(path: str | Path, content: bytes, *, writer: str = "") -> None:
    """Write a file atomically: at any moment, ``path`` has its complete old or new content.

    The content is written to ``<path><writer>.partial``, flushed to the disk, and then renamed.
    Several processes may write the same file, apart from a checkpoint without a ``writer``.

    Args:
        path: File to write. Its folder is created if necessary.
        content: Complete content of the file.
        writer: Suffix that no other writer of the file has. By default, a checkpoint (``.pth``) has
            none, so that a later run can find and remove a partial one, and other files have a
            random one.

    Raises:
        InputError: If the file cannot be written. A previous file at ``path`` stays intact.
    """
    path = Path(path)
    if not writer and path.suffix != ".pth":
        writer = f".{os.getpid()}-{uuid.uuid4().hex[:8]}"
    partial = path.with_name(path.name + writer + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(
            f"{path} ({len(content) / 1e6:.1f} MB) is not written: {error.strerror}. Files saved "
            "before are intact: free disk space or choose another place; a training can then "
            "continue with --resume"
        ) from error


def _sync_folder(folder: Path) -> None:
    # The new name must reach the disk as well, because a power failure could undo the renaming.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class WholeFilesBackend(LocalBackend):
    """File backend of mmengine for local files that writes with :func:`write_whole`."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes."""
        write_whole(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text. mmengine's logger writes the metrics of a test on every process."""
        write_whole(filepath, obj.encode(encoding), writer=f".{os.getpid()}")


def write_whole_files() -> None:
    """Make mmengine write every local file with :func:`write_whole`."""
    register_backend("local", WholeFilesBackend, force=True, prefixes="")


def remove_partial_files(folder: str | Path) -> list[Path]:
    """Delete the partially written checkpoints of an interrupted run, and return their paths."""
    partial = sorted(Path(folder).glob(f"*.pth{PARTIAL}"))
    for path in partial:
        path.unlink(missing_ok=True)
    return partial


def checkpoint_fault(path: str | Path) -> str | None:
    """Return the reason why a checkpoint is not intact, or None if it is intact.

    Files of torch are ZIP archives with a checksum for each entry, so a truncated or damaged file
    is detected without loading it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError) as error:
        return str(error)
    return f"its entry {damaged} does not match its checksum" if damaged else None


def newest_checkpoint(work_dir: str | Path) -> tuple[Path | None, dict[Path, str]]:
    """Find the newest intact ``epoch_N.pth`` or ``iter_N.pth`` of a run.

    The ``last_checkpoint`` file of mmengine is not used, because a run that is killed between
    writing a checkpoint and writing this file leaves the two inconsistent.

    Args:
        work_dir: Work folder of the run.

    Returns:
        Path of the checkpoint, None if there is none, and the reasons why newer checkpoints were
        skipped, by path.
    """
    found = []
    for path in Path(work_dir).glob("*.pth"):
        if match := _CHECKPOINT.fullmatch(path.name):
            with suppress(FileNotFoundError):  # Another process has just removed it.
                found.append((path.stat().st_mtime_ns, int(match[2]), path))
    faults: dict[Path, str] = {}
    # A higher number is a later state, whenever the file was copied here. If a run has both iter_N
    # and epoch_N, they are ordered by time.
    kinds = {path.name.split("_")[0] for *_, path in found}
    key = (lambda entry: entry[1]) if len(kinds) == 1 else (lambda entry: entry[0])
    for *_, path in sorted(found, key=key, reverse=True):
        fault = checkpoint_fault(path)
        if fault is None:
            return path, faults
        faults[path] = fault
    return None, faults
