"""Who holds a claim, who may take it over, and what becomes of a holder that seemed dead."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from bam_mm import InputError
from bam_mm.suite import claims as module
from bam_mm.suite.claims import Claim, ClaimLost, Claims, Holder, Worker, read_claim


@pytest.fixture
def nodes(tmp_path):
    """The claims of one folder as two machines see them, each through a path of its own."""
    folder = tmp_path / "disk/records"
    folder.mkdir(parents=True)
    (tmp_path / "mount").symlink_to(tmp_path / "disk")
    node = Worker("node1", "node1:boot", 11, "100")
    return (
        Claims(folder, node, dead_after=60),
        Claims(tmp_path / "mount/records", replace(node, host="node2", machine="node2:boot")),
    )


def ended_process():
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def test_a_fresh_claim_of_another_machine_is_left_alone_and_an_old_one_is_not(nodes, monkeypatch):
    one, two = nodes
    path, same = (each.folder / "model/knn/seed0.claim" for each in nodes)
    held = one.take([path])
    assert isinstance(held, Claim) and read_claim(path)[0]["pid"] == 11
    # The clock of this machine does not matter.
    monkeypatch.setattr(time, "time", lambda: 1e12)
    seen = two.take([same])
    assert isinstance(seen, Holder) and seen.alive and seen.token == held.token
    assert seen.text.startswith("process 11 on node1, last seen ")

    renewed = read_claim(path)[1]
    os.utime(path, (renewed - 250, renewed - 250))
    assert isinstance(two.take([same]), Holder)  # The default age is 300 s.
    os.utime(path, (renewed - 350, renewed - 350))
    taken = two.take([same])
    assert isinstance(taken, Claim) and read_claim(path)[0]["host"] == "node2"
    # The first holder, which was only asleep, notices, and leaves the new claim in place.
    held.check()
    with pytest.raises(ClaimLost):
        held.check(now=True)
    with pytest.raises(ClaimLost):
        held.add_child(os.getpid())
    held.release()
    assert read_claim(path)[0]["token"] == taken.token
    taken.release()
    assert two.holder(same) is None and not list(path.parent.iterdir())


def test_a_claim_is_renewed_while_its_holder_lives(nodes):
    one, two = nodes
    one.dead_after = 0.5  # So it is renewed ten times a second.
    path = one.folder / "seed0.claim"
    held = one.take([path])
    os.utime(path, (0, 0))
    wait_until(lambda: path.stat().st_mtime > 0)
    assert two.holder(path).alive
    held.check()
    path.unlink()

    def lost():
        try:
            held.check()
        except ClaimLost:
            return True
        return False

    wait_until(lost)
    held.release()


def wait_until(what):
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_on_its_machine_a_holder_is_known_by_its_process(tmp_path):
    claims = Claims(tmp_path)
    path, this = tmp_path / "seed0.claim", Worker.this()

    def taken(worker=this, child=None):
        path.unlink(missing_ok=True)
        old = Claims(tmp_path, worker).take([path])
        if child is not None:
            old.add_child(child)
        os.utime(path, (0, 0))  # However old it is.
        found = claims.take([path])
        return found

    alive = taken()
    assert isinstance(alive, Holder) and alive.text == f"process {this.pid} on {this.host}"
    assert isinstance(taken(replace(this, pid=ended_process())), Claim)
    # A later process has the same id.
    assert isinstance(taken(replace(this, start="1")), Claim)
    # The run of a killed worker ends half a second after it.
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
    orphan = taken(replace(this, pid=ended_process()), child.pid)
    assert isinstance(orphan, Holder)
    assert orphan.text == f"process {child.pid} on {this.host} (a run of an ended worker)"
    child.kill()
    child.wait()
    assert isinstance(claims.take([path]), Claim)
    # Another container may have the name and the ids of this machine, but not its processes.
    other = replace(this, machine=f"{this.machine}0", pid=ended_process())
    path.unlink()
    assert isinstance(Claims(tmp_path, other).take([path]), Claim)
    assert isinstance(claims.take([path]), Holder)


def test_a_claim_that_was_not_written_completely_expires(tmp_path):
    path, claims = tmp_path / "seed0.claim", Claims(tmp_path)
    path.write_text('{"host": "no')
    assert claims.take([path]).text.startswith("process ? on an unknown machine, last seen ")
    os.utime(path, (0, 0))
    assert isinstance(claims.take([path]), Claim)


def test_all_files_of_a_claim_or_none(tmp_path):
    first, second = tmp_path / "features.claim", tmp_path / "knn/seed0.claim"
    claims = Claims(tmp_path)
    held = claims.take([second])
    assert isinstance(claims.take([first, second]), Holder) and not first.exists()
    held.release()
    claims.take([first, second]).release()
    assert not first.exists() and not second.exists()


def test_one_of_many_takes_the_place_of_a_dead_worker(tmp_path):
    path = tmp_path / "seed0.claim"
    dead = replace(Worker.this(), pid=ended_process())
    for _ in range(20):
        path.unlink(missing_ok=True)
        Claims(tmp_path, dead).take([path])
        start, found = threading.Barrier(8), []

        def take(start=start, found=found):
            claims = Claims(tmp_path)
            start.wait()
            found.append(claims.take([path]))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        [winner] = [each for each in found if isinstance(each, Claim)]
        assert json.loads(path.read_text())["token"] == winner.token
        winner.release()


@pytest.mark.parametrize("done, number", [(True, errno.EEXIST), (False, errno.EPERM)])
def test_a_link_that_is_repeated_and_a_file_system_without_links(
    tmp_path, monkeypatch, done, number
):
    path, link = tmp_path / "seed0.claim", os.link

    def answer(own, target):
        assert json.loads(own.read_text())["pid"] == os.getpid()  # Complete before it appears.
        if done:
            link(own, target)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", answer)
    held = Claims(tmp_path).take([path])
    assert isinstance(held, Claim) and read_claim(path)[0]["token"] == held.token
    assert isinstance(Claims(tmp_path).take([path]), Holder)
    held.release()
    assert [each.name for each in tmp_path.iterdir()] == ["claims.lock"]


def test_a_file_that_cannot_be_read_for_a_while_is_not_lost(tmp_path, monkeypatch):
    path = tmp_path / "seed0.claim"
    held = Claims(tmp_path).take([path])

    def away(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(module, "read_claim", away)
        held.check(now=True)
        held.release()
    assert read_claim(path)[0]["token"] == held.token


def test_a_full_disk(tmp_path, monkeypatch):
    def full(own, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(InputError, match=r"\(No space left on device\): free disk space$"):
        Claims(tmp_path).take([tmp_path / "seed0.claim"])
    assert not list(tmp_path.glob("*seed0*"))


def test_a_folder_in_which_nothing_can_be_created(tmp_path):
    (tmp_path / "knn").write_text("")
    with pytest.raises(InputError, match=r"seed0\.claim cannot be written \(.*choose another"):
        Claims(tmp_path).take([tmp_path / "knn/seed0.claim"])
