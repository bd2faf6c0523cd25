"""The folders that a run writes to: usable, checked before the run, and used by one run alone."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from bam_mm.errors import InputError

LOCK = "run.lock"
"""File in a work folder that a training keeps locked."""

RANKS = {"pytorch": "RANK", "slurm": "SLURM_PROCID", "mpi": "OMPI_COMM_WORLD_RANK"}
"""Environment variable with the number of a process, by launcher."""


def check_folder(folder: str | Path, what: str, remedy: str = "choose another folder") -> None:
    """Create a folder if necessary, and check that files can be written to it.

    Args:
        folder: The folder.
        what: Name of the folder in the message.
        remedy: End of the message.

    Raises:
        InputError: If it is a file, lies below a file, or cannot be created or written to.
    """
    path = Path(os.path.expanduser(folder)).absolute()
    existing = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if not existing.is_dir():
        kind = "is a file, not a folder" if existing.is_file() else "is no folder"
        raise InputError(f"{what} {folder}: {existing} {kind}; {remedy}")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            # A full disk creates empty files.
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        raise InputError(
            f"{what} {folder} cannot be written to ({error.strerror}): {remedy}"
        ) from error


PICTURES = (".png", ".pdf", ".svg", ".jpg", ".jpeg", ".webp")
"""Endings of the files that figures are written to."""


def check_output(file: str | Path, option: str, endings: Sequence[str] = ()) -> None:
    """Check before a run that its results can be written to a file afterwards.

    Args:
        file: The file; its folder is created if necessary.
        option: Name of the option, for the message.
        endings: Endings of which the file must have one; any, if there are none.

    Raises:
        InputError: If it is a folder, has another ending, or its folder cannot be created or
            written to.
    """
    path = Path(os.path.expanduser(file))
    if path.is_dir():
        raise InputError(f"{option} {file} is a folder: add the name of a file")
    if endings and path.suffix.lower() not in endings:
        raise InputError(
            f"{option} {file}: no format of this ending; choose one of {', '.join(endings)}"
        )
    check_folder(path.parent, f"{option} {file}: folder")


@contextmanager
def training_folder(config: Config) -> Iterator[None]:
    """Check the work folder of a training, and keep other trainings out of it.

    Args:
        config: Config with ``work_dir`` and ``launcher``.

    Raises:
        InputError: If the folder cannot be used, or another training uses it.
    """
    check_work_folder(config)
    if os.environ.get(RANKS.get(config.get("launcher", "none"), ""), "0") != "0":
        # torchrun, mpirun and tools/slurm_train.sh end all processes if the first one stops.
        yield
        return
    with locked_folder(config.work_dir):
        yield


def check_work_folder(config: Config) -> None:
    """Check that the work folder of a config can be written to.

    Args:
        config: Config with ``work_dir``.

    Raises:
        InputError: If it cannot.
    """
    check_folder(config.work_dir, "work folder", "choose another --work-dir")


@contextmanager
def locked_folder(folder: str | Path) -> Iterator[None]:
    """Lock a folder as long as the context lasts and this process lives.

    The lock is of POSIX's kind: it works over NFS, ends with the process, and is not inherited by
    the workers of a loader. On file systems without locks, nothing is locked.

    Args:
        folder: An existing folder.

    Raises:
        InputError: If another process has locked it.
    """
    path = Path(folder) / LOCK
    try:
        import fcntl
    except ImportError:  # This system has no such locks.
        yield
        return
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise InputError(
                    f"another training runs in {folder} ({file.read().strip() or 'just started'}): "
                    "wait until it ends, or choose another --work-dir"
                ) from error
        else:
            file.truncate(0)
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            file.write(f"process {os.getpid()} on {socket.gethostname()}, since {since}\n")
            file.flush()
        yield
