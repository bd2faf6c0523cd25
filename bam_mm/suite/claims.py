"""Claims: files by which the workers of a work folder leave each other's runs alone.

A claim is a file that appears at once and complete, as a hard link to one that was written before,
which exactly one of several processes can do, also on NFS. File systems without links have the file
created with ``O_EXCL``. It names the process that holds it, and its modification time is
renewed as long as that process lives. A claim whose holder is dead may be taken over:

- on the holder's machine, as soon as its process has ended, and the run that it had started;
- on other machines, once the claim is older than a limit. Both times are of the file system's own
  clock, that of the claim and that of a file written for the comparison, so the clocks of the
  machines need not agree.

Where the file system has locks, a claim is only removed by the process that holds the lock of the
folder, so that no one removes the claim that another has just put in the place of a dead one.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bam_mm.checkpoint import write_whole
from bam_mm.errors import InputError
from bam_mm.launch.watching import DEAD_AFTER, start_of

BEAT = 20.0
"""Maximum interval in seconds at which a claim is renewed."""

GUARD = "claims.lock"
"""File in the folder of records that is locked while a claim is removed or changed."""

NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)
"""Errors by which file systems say that they have no hard links."""


class ClaimLost(Exception):
    """Another worker has taken a claim over, because this one seemed to be dead."""


@dataclass(frozen=True)
class Worker:
    """A process that can hold claims.

    Attributes:
        host: Name of its machine, for messages.
        machine: Identity of its machine, within which process ids are unique. Containers with the
            name of their host have their own.
        pid: Id of the process.
        start: Start of the process, see :func:`~bam_mm.launch.watching.start_of`.
    """

    host: str
    machine: str
    pid: int
    start: str

    @classmethod
    def this(cls) -> Worker:
        """Return this process."""
        boot, namespace = "", ""
        with suppress(OSError):
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            namespace = str(os.stat("/proc/self/ns/pid").st_ino)
        host, pid = socket.gethostname(), os.getpid()
        return cls(host, ":".join((host, boot, namespace)), pid, start_of(pid) or "")


@dataclass(frozen=True)
class Holder:
    """The holder of a claim, as its file shows it.

    Attributes:
        text: Description for messages.
        alive: Whether it is alive, as far as can be known.
        token: Identity of the claim, ``""`` for a file without a complete content.
    """

    text: str
    alive: bool
    token: str


class Claims:
    """The claims of a work folder, as one worker sees them.

    Args:
        folder: Folder that holds all claims, at any depth; created if necessary.
        worker: The worker, None for this process.
        dead_after: Age in seconds at which a claim of another machine counts as that of a dead
            worker.
    """

    def __init__(
        self, folder: Path, worker: Worker | None = None, *, dead_after: float = DEAD_AFTER
    ) -> None:
        self.folder, self.worker = folder, worker or Worker.this()
        self.dead_after = dead_after

    def take(self, paths: Sequence[Path]) -> Claim | Holder:
        """Claim files for this worker, all of them or none.

        Args:
            paths: Files, in an order that all workers share.

        Returns:
            The claim, to be released; or who holds one of the files.

        Raises:
            InputError: If a file cannot be created.
        """
        claim = Claim(self)
        for path in paths:
            try:
                holder = self._take(path, claim)
            except OSError as error:
                claim.release()
                remedy = (
                    "free disk space"
                    if error.errno in (errno.ENOSPC, errno.EDQUOT)
                    else "workers need a folder in which they may create files; choose another "
                    "--work-dir"
                )
                raise InputError(
                    f"{path} cannot be written ({error.strerror}): {remedy}"
                ) from error
            if holder is not None:
                claim.release()
                return holder
        claim.start()
        return claim

    def holder(self, path: Path) -> Holder | None:
        """Return who holds a file; None if nobody has claimed it.

        Args:
            path: File of a claim.
        """
        found = read_claim(path)
        if found is None:
            return None
        content, renewed = found
        if content.get("machine") == self.worker.machine:
            held = {"": content, " (a run of an ended worker)": content.get("child") or {}}
            for what, process in held.items():
                if _lives(process):
                    text = f"process {process['pid']} on {content['host']}{what}"
                    return Holder(text, True, content["token"])
            return Holder("an ended process", False, content["token"])
        age = self._now(path.parent) - renewed
        host = content.get("host", "an unknown machine")
        text = f"process {content.get('pid', '?')} on {host}, last seen {max(age, 0):.0f} s ago"
        return Holder(text, age < self.dead_after, content.get("token", ""))

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Exclude other processes from removing and changing claims, where there are locks."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / GUARD).open("a") as file:
            try:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX)
            except (ImportError, OSError):
                pass  # A system, or a file system, without locks.
            yield

    def _take(self, path: Path, claim: Claim) -> Holder | None:
        path.parent.mkdir(parents=True, exist_ok=True)
        while not claim.create(path):
            holder = self.holder(path)
            if holder is None:
                continue  # It was released just now.
            if holder.alive:
                return holder
            with self.guard():
                # Another worker may have taken the dead one's place in the meantime.
                again = self.holder(path)
                if again is not None and not again.alive and again.token == holder.token:
                    path.unlink(missing_ok=True)
        return None

    def _now(self, folder: Path) -> float:
        """Return the time of the clock with which the file system dates its files."""
        path = folder / f".clock-{uuid.uuid4().hex}"
        try:
            with path.open("w") as file:
                os.utime(path)
                return os.fstat(file.fileno()).st_mtime
        finally:
            path.unlink(missing_ok=True)


class Claim:
    """Files that this worker has claimed; a thread renews them until they are released.

    Args:
        claims: The claims to which this one belongs.
    """

    def __init__(self, claims: Claims) -> None:
        self.token = uuid.uuid4().hex
        self._claims, self._paths = claims, list[Path]()
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        self._content = {**asdict(claims.worker), "token": self.token, "since": since}
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def create(self, path: Path) -> bool:
        """Create a file of the claim; return False if there is one already.

        Raises:
            OSError: If it cannot be created.
        """
        if path.exists():
            return False  # The usual case while a run is waited for.
        own = path.with_name(f".{path.name}-{self.token}")
        try:
            own.write_text(json.dumps(self._content))
            created = self._link(own, path)
        finally:
            own.unlink(missing_ok=True)
        if created:
            self._paths.append(path)
        return created

    def _link(self, own: Path, path: Path) -> bool:
        """Let a complete file appear under the name of the claim, unless there is one."""
        try:
            os.link(own, path)
        except OSError as error:
            # A network file system may repeat a request that has succeeded. The attributes of an
            # open file are fresh.
            with own.open() as file:
                if os.fstat(file.fileno()).st_nlink == 2:
                    return True
            if isinstance(error, FileExistsError):
                return False
            if error.errno not in NO_LINKS:
                raise
        else:
            return True
        try:
            file_number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return self._holds(path)
        with os.fdopen(file_number, "w") as created:
            created.write(json.dumps(self._content))
        return True

    def start(self) -> None:
        """Begin to renew the claim."""
        self._thread = threading.Thread(target=self._renew, name="claim", daemon=True)
        self._thread.start()

    def add_child(self, pid: int) -> None:
        """Note the process of the run, which may outlive a killed worker for a moment.

        Args:
            pid: Id of a child process.

        Raises:
            ClaimLost: If another worker has taken the claim over.
        """
        self._content["child"] = {"pid": pid, "start": start_of(pid)}
        with self._claims.guard():
            self.check(now=True)
            for path in self._paths:
                write_whole(path, json.dumps(self._content).encode(), writer=self.token)

    def check(self, *, now: bool = False) -> None:
        """Check that no other worker has taken the claim over.

        Args:
            now: Whether to read the files, instead of what was found when they were last renewed.

        Raises:
            ClaimLost: If one has.
        """
        if now:
            for path in self._paths:
                # A network file system may be away for a while: not known, so not lost.
                with suppress(OSError):
                    if not self._holds(path):
                        self._lost.set()
        if self._lost.is_set():
            raise ClaimLost

    def release(self) -> None:
        """Remove the files that this worker still holds, as far as the file system lets it."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with suppress(OSError):
            if self._paths:
                with self._claims.guard():
                    for path in reversed(self._paths):
                        with suppress(OSError):
                            if self._holds(path):
                                path.unlink(missing_ok=True)

    def _holds(self, path: Path) -> bool:
        found = read_claim(path)
        return found is not None and found[0].get("token") == self.token

    def _renew(self) -> None:
        while not self._ended.wait(min(BEAT, self._claims.dead_after / 5)):
            for path in self._paths:
                # A network file system may be away for a while.
                with suppress(OSError):
                    if not self._holds(path):
                        self._lost.set()
                        return
                    os.utime(path)  # The time of the file system's clock.


def read_claim(path: Path) -> tuple[dict[str, Any], float] | None:
    """Read a claim.

    Args:
        path: File of the claim.

    Returns:
        Its content, empty if it is not complete (a file system without links, where a process
        was killed while it wrote it), and the
        time at which it was last renewed; None if there is none.
    """
    try:
        # An open file has fresh attributes on NFS, where those of a path may be a minute old.
        with path.open() as file:
            text, renewed = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
    except ValueError:
        content = {}
    return content if isinstance(content, dict) else {}, renewed


def _lives(process: dict[str, Any]) -> bool:
    if not process.get("pid"):
        return False
    start = start_of(process["pid"])
    # Systems that do not show the start of a process are left with its id.
    return start is not None and (start == process["start"] or "" in (start, process["start"]))
