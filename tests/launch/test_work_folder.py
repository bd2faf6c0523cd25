"""Folders of results are checked before a run, and one training at a time uses a work folder."""

import errno
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from mmengine.config import Config

from bam_mm.errors import InputError
from bam_mm.launch import testing, training, work_folder
from bam_mm.launch.config import load_config
from bam_mm.launch.work_folder import LOCK, check_output, locked_folder, training_folder

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
file.write("process 1 on elsewhere"); file.flush()
print("locked", flush=True)
sys.stdin.read()
"""


def config_of(folder, **options):
    parts = dict(model={}, optim_wrapper={}, train_cfg={}, train_dataloader={})
    return Config(dict(work_dir=str(folder), launcher="none", **parts, **options))


def unusable(tmp_path, kind, monkeypatch):
    """Return a folder that cannot be used."""
    (tmp_path / "file").write_text("mine")
    if kind == "link":
        (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    if kind in ("EROFS", "ENOSPC", "EACCES"):

        def fail(*args, **kwargs):
            raise OSError(getattr(errno, kind), f"reason {kind}")

        monkeypatch.setattr(work_folder.tempfile, "TemporaryFile", fail)
    return {
        "file": tmp_path / "file",
        "below": tmp_path / "file/below/it",
        "link": tmp_path / "link/new",
        "proc": Path("/proc/nothing/at/all"),
    }.get(kind, tmp_path / "new")


@pytest.mark.parametrize(
    "kind, words",
    [
        ("file", "/file is a file, not a folder"),
        ("below", "/file is a file, not a folder"),
        ("link", "/link is no folder"),
        ("proc", "cannot be written to (No such file"),
        ("EROFS", "cannot be written to (reason EROFS)"),
        ("ENOSPC", "cannot be written to (reason ENOSPC)"),
        ("EACCES", "cannot be written to (reason EACCES)"),
    ],
)
def test_a_work_folder_that_cannot_be_used(tmp_path, kind, words, monkeypatch):
    folder = unusable(tmp_path, kind, monkeypatch)
    with pytest.raises(InputError) as error, training_folder(config_of(folder)):
        pytest.fail("the run started")
    text = str(error.value)
    assert text.startswith(f"work folder {folder}") and words in text, text
    assert text.endswith("choose another --work-dir")
    assert (tmp_path / "file").read_text() == "mine"


def test_the_folder_of_out_is_made_before_the_run(tmp_path, monkeypatch):
    class Started(Exception):
        pass

    def start(config):
        assert (tmp_path / "none/such").is_dir()
        raise Started

    monkeypatch.setattr(testing, "build_runner", start)
    config = load_config(ROOT / "configs/cls/vit-toy-p8_knn_toy.py")
    args = Namespace(
        config="knn.py", work_dir=str(tmp_path / "w"), launcher="none", checkpoint="none.pth"
    )
    with pytest.raises(Started):
        testing.test(config.copy(), Namespace(**vars(args), out=str(tmp_path / "none/such/m.json")))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"--out .*m\.json: folder .* is a file, not a folder"):
        testing.test(config.copy(), Namespace(**vars(args), out=str(tmp_path / "file/m.json")))
    with pytest.raises(InputError, match="is a folder: add the name of a file"):
        check_output(tmp_path, "--out")


@pytest.mark.parametrize("place", ["argument", "config"])
def test_a_work_folder_in_the_home_folder(tmp_path, place, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = []
    monkeypatch.setattr(training, "_train", lambda config, _: seen.append(config.work_dir))
    argument = "~/runs/x" if place == "argument" else None
    args = Namespace(config="c.py", work_dir=argument, launcher="none")
    training.train(config_of("~/runs/x"), args)
    assert seen == [str(tmp_path / "runs/x")] and (tmp_path / "runs/x" / LOCK).is_file()


@pytest.fixture
def held(tmp_path):
    """A folder that another process has locked, and that process."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", HOLDER, str(tmp_path / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "locked\n"
        yield tmp_path, process
        process.kill()


def test_a_second_training_in_a_folder_stops(held, monkeypatch):
    folder, process = held
    monkeypatch.setattr(training, "_train", lambda *_: pytest.fail("the run started"))
    args = Namespace(config="c.py", work_dir=str(folder), launcher="none")
    with pytest.raises(InputError) as error:
        training.train(config_of(folder), args)
    words = f"another training runs in {folder} (process 1 on elsewhere): wait until it ends"
    assert words in str(error.value) and "choose another --work-dir" in str(error.value)
    # Only the first process of a run locks; an evaluation does not.
    for launcher, name in work_folder.RANKS.items():
        config = config_of(folder)
        config.launcher = launcher
        monkeypatch.setenv(name, "1")
        with training_folder(config):
            pass
        monkeypatch.setenv(name, "0")
        with pytest.raises(InputError), training_folder(config):
            pass
    work_folder.check_work_folder(config_of(folder))
    process.kill()
    process.wait()
    with locked_folder(folder):
        assert "process " in (folder / LOCK).read_text()


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    import fcntl

    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", fail)
    with locked_folder(tmp_path):
        pass


def test_resume_from_a_path_that_does_not_exist(tmp_path):
    for name in ("epoch_2.pth", "epoch_10.pth", "last_checkpoint"):
        (tmp_path / name).touch()
    args = Namespace(
        config="c.py", work_dir=str(tmp_path), launcher="none", amp=False,
        resume=str(tmp_path / "epoch_99.pth"),
    )  # fmt: skip
    with pytest.raises(InputError) as error:
        training.train(config_of(tmp_path), args)
    assert "epoch_99.pth: no such file" in str(error.value)
    assert "has: epoch_2.pth, epoch_10.pth)" in str(error.value)


class Reached(Exception):
    pass


@pytest.mark.parametrize(
    "own, saved, expected",
    [
        (dict(load_from="w.pth"), False, ("w.pth", False)),
        (dict(), False, (None, False)),
        (dict(load_from="w.pth"), True, ("epoch_1.pth", True)),
        # mmengine has written these where an earlier start resumed.
        (dict(load_from="old/epoch_3.pth", resume=True), False, (None, False)),
    ],
)
def test_resume_keeps_the_weights_that_a_training_begins_with(
    tmp_path, monkeypatch, own, saved, expected
):
    def reached(config):
        path = config.get("load_from") and config.load_from.replace(f"{tmp_path}/", "")
        raise Reached(path, config.resume)

    found = tmp_path / "epoch_1.pth" if saved else None
    monkeypatch.setattr(training, "newest_checkpoint", lambda folder: (found, {}))
    monkeypatch.setattr(training, "preprocess_for_training", lambda config, **_: None)
    monkeypatch.setattr(training, "build_runner", reached)
    args = Namespace(
        config="c.py", work_dir=str(tmp_path), launcher="none", amp=False, resume="auto",
        auto_scale_lr=False,
    )  # fmt: skip
    with pytest.raises(Reached) as error:
        training.train(config_of(tmp_path, **own), args)
    assert error.value.args == expected


def test_allowed_changes_need_the_hook_that_compares(tmp_path):
    args = Namespace(
        config="c.py", work_dir=str(tmp_path), launcher="none", amp=False, resume=None,
        auto_scale_lr=False, allow_changes=True,
    )  # fmt: skip
    hooks = dict(checkpoint=dict(type="CheckpointHook"))
    with pytest.raises(InputError, match=r"--allow-changes: .* saves checkpoints with Checkp"):
        training.train(config_of(tmp_path, default_hooks=hooks), args)
