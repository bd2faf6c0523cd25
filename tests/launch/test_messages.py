"""Tools end with one message for user errors, and write names of any bytes."""

import errno
import io
import logging
import os

import pytest

from bam_mm.errors import InputError, SharedError
from bam_mm.launch import messages
from bam_mm.launch.messages import run_tool, write_any_name


@pytest.fixture(autouse=True)
def logging_as_before():
    before = logging.raiseExceptions
    yield
    logging.raiseExceptions = before


def code_of(error):
    def main():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_tool(main)
    return ended.value.code


def wrapped(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error, words",
    [
        (InputError("wrong value"), "error: wrong value\n"),
        (
            OSError(errno.EROFS, "Read-only file system", "/ro/a"),
            "error: /ro/a: Read-only file s",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/p"),
            "error: /p: Permission denied;",
        ),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", b"/f/x"), "Not a directory"),
        (OSError(errno.ENOSPC, "No space left on device"), "not written: No space left on device"),
        (
            wrapped(RuntimeError("class Hook: no"), OSError(errno.ENOSPC, "No space left", "/d/x")),
            "error: /d/x: No space left",
        ),
    ],
)
def test_one_message(error, words, capsys):
    assert code_of(error) == 1
    printed = capsys.readouterr().err
    assert words in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    "error", [ValueError("defect"), OSError(errno.EBADF, "Bad file descriptor"), KeyError("x")]
)
def test_defects_keep_their_traceback(error):
    def main():
        raise error

    with pytest.raises(type(error)):
        run_tool(main)


@pytest.mark.parametrize("first", [True, False])
def test_an_error_of_all_processes_is_printed_once(first, monkeypatch, capsys):
    monkeypatch.setattr(messages, "_is_first_process", lambda: first)
    assert code_of(SharedError("loss is nan")) == 1
    assert capsys.readouterr().err == ("error: loss is nan\n" if first else "")
    # Of another error, it is not known whether the first process has it.
    assert code_of(InputError("broken image")) == 1
    assert capsys.readouterr().err == "error: broken image\n"


def test_any_name_can_be_written():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="strict")
    write_any_name(stream)
    write_any_name(object())  # A stream of another kind is left as it is.
    print(os.fsdecode(b"caf\xe9.png"), "ねこ.png", file=stream, flush=True)
    assert raw.getvalue() == rb"caf\udce9.png" + " ねこ.png\n".encode()
