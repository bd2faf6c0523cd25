"""Checkpoints are written atomically, and the newest intact one is found."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from mmengine.fileio import get_file_backend

from bam_mm.checkpoint import newest_checkpoint, write_whole
from bam_mm.checkpoint.writing import (
    WholeFilesBackend,
    checkpoint_fault,
    remove_partial_files,
    write_whole_files,
)
from bam_mm.errors import InputError


def save(path, value, size=20_000):
    torch.save({"state_dict": {"x": torch.full((size,), float(value))}}, path)


def cut(path, count=1024):
    path.write_bytes(path.read_bytes()[:-count])


def write_repeatedly(path):
    for number in range(10**9):
        write_whole(path, bytes([number % 251]) * 4_000_000)


def test_kill_at_any_moment_leaves_the_old_or_the_new_file(tmp_path):
    path = tmp_path / "file"
    for attempt in range(8):
        process = multiprocessing.get_context("fork").Process(target=write_repeatedly, args=(path,))
        process.start()
        while not path.exists():
            time.sleep(0.001)
        time.sleep(0.003 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        content = path.read_bytes()
        assert len(content) == 4_000_000 and len(set(content)) == 1


def test_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "epoch_1.pth"
    write_whole(path, b"old")
    # The new content is written to the partial file first, which is a device that is always full.
    (tmp_path / "epoch_1.pth.partial").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"epoch_1\.pth \(0\.2 MB\) is not written: No space left"):
        write_whole(path, b"n" * 200_000)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["epoch_1.pth"]


def test_several_processes_may_write_a_file(tmp_path):
    def write(number):
        for _ in range(20):
            write_whole(tmp_path / "a.json", bytes([number]) * 10_000)

    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    content = (tmp_path / "a.json").read_bytes()
    assert len(content) == 10_000 and len(set(content)) == 1


def test_mmengine_writes_files_atomically(tmp_path, monkeypatch):
    write_whole_files()
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(handle))
    backend = get_file_backend(str(tmp_path / "a/b.pth"))
    backend.put(b"1234", str(tmp_path / "a/b.pth"))
    backend.put_text("text", str(tmp_path / "a/c.txt"))
    assert (tmp_path / "a/b.pth").read_bytes() == b"1234"
    assert (tmp_path / "a/c.txt").read_text() == "text"
    assert len(synced) == 4  # Each file and its folder.


def test_newest_intact_checkpoint(tmp_path):
    assert newest_checkpoint(tmp_path) == (None, {})
    for epoch in (2, 9, 10):
        save(tmp_path / f"epoch_{epoch}.pth", epoch)
    save(tmp_path / "best_knn_epoch_11.pth", 0)
    (tmp_path / "epoch_12.pth.partial").write_bytes(b"half")
    # Checkpoints are ordered by number and not by name, and last_checkpoint is ignored.
    (tmp_path / "last_checkpoint").write_text("nowhere.pth")
    assert newest_checkpoint(tmp_path) == (tmp_path / "epoch_10.pth", {})

    cut(tmp_path / "epoch_10.pth")
    path, faults = newest_checkpoint(tmp_path)
    assert path == tmp_path / "epoch_9.pth"
    assert list(faults) == [tmp_path / "epoch_10.pth"]
    assert "not a zip file" in faults[tmp_path / "epoch_10.pth"]

    # One flipped bit in the middle of the weights.
    content = bytearray((tmp_path / "epoch_9.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "epoch_9.pth").write_bytes(content)
    path, faults = newest_checkpoint(tmp_path)
    assert path == tmp_path / "epoch_2.pth" and len(faults) == 2
    assert "does not match its checksum" in faults[tmp_path / "epoch_9.pth"]

    cut(tmp_path / "epoch_2.pth")
    path, faults = newest_checkpoint(tmp_path)
    assert path is None and len(faults) == 3


def test_intact_and_empty_files(tmp_path):
    save(tmp_path / "a.pth", 1)
    assert checkpoint_fault(tmp_path / "a.pth") is None
    (tmp_path / "b.pth").touch()
    assert checkpoint_fault(tmp_path / "b.pth")


def test_partial_files_are_deleted(tmp_path):
    (tmp_path / "epoch_3.pth.partial").write_bytes(b"half")
    (tmp_path / "notes.partial").write_bytes(b"not a checkpoint")
    assert remove_partial_files(tmp_path) == [tmp_path / "epoch_3.pth.partial"]
    assert [p.name for p in tmp_path.iterdir()] == ["notes.partial"]


def write_often(path, number):
    backend = WholeFilesBackend()
    for _ in range(60):
        backend.put_text(str(number) * 1000, path)


def test_processes_that_write_the_same_text(tmp_path):
    path = tmp_path / "metrics.json"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=write_often, args=(path, n)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert path.read_text() in ("0" * 1000, "1" * 1000) and list(tmp_path.iterdir()) == [path]
