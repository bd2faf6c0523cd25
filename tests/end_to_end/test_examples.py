"""The configs in examples/ in the libraries' own tools and in ours, and how they fail."""

import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from bam_mm import InputError
from bam_mm.checkpoint import read_checkpoint
from tests.end_to_end.own_project import EXAMPLES, SHORT, make_project
from tests.end_to_end.running import forget_earlier_runs, losses, one_message

CONFIGS = {path.name.partition("_")[0]: path for path in EXAMPLES.glob("*.py")}
WEIGHTS = {
    "mmdet": "work_dirs/bam_resnet50/epoch_300.pth",
    "mmseg": "work_dirs/bam_vit-small/epoch_300.pth",
    "mmpretrain": "work_dirs/bam_vit-small/epoch_300.pth",
}
WRONG = {"mmdet": "depth=34", "mmseg": "arch.num_layers=5", "mmpretrain": "arch.num_layers=5"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(autouse=True)
def in_project(project, monkeypatch):
    monkeypatch.chdir(project)
    # A runner lays out its config four times, which takes a second each.
    monkeypatch.setattr("yapf.yapflib.yapf_api.FormatCode", lambda text, **_: (text, False))


def train_script(library):
    return str(Path(find_spec(library).origin).parent / ".mim/tools/train.py")


@pytest.fixture
def upstream(monkeypatch):
    """A function that trains an example with the library's own tool, in this process."""

    def run(library, work, *options):
        argv = [train_script(library), str(CONFIGS[library]), "--work-dir", str(work)]
        argv += ["--cfg-options", *SHORT[library], *options]
        monkeypatch.setattr(sys, "argv", argv)
        forget_earlier_runs()
        runpy.run_path(argv[0], run_name="__main__")

    return run


def test_there_is_an_example_for_each_library():
    assert set(CONFIGS) == set(WEIGHTS)


@pytest.mark.parametrize("library", WEIGHTS)
def test_the_losses_are_the_same_in_both_kinds_of_tools(library, project, tool, upstream):
    theirs, ours = project / f"work/{library}-theirs", project / f"work/{library}-ours"
    if library == "mmdet":
        # A process of its own: here, mmdet is imported before anything of this package.
        command = [sys.executable, train_script(library), str(CONFIGS[library])]
        command += ["--work-dir", str(theirs), "--cfg-options", *SHORT[library]]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    else:
        upstream(library, theirs)
    code, text, _ = tool("train.py", CONFIGS[library], "--work-dir", ours, options=SHORT[library])
    assert code == 0, text[-3000:]
    assert len(losses(ours)) == 2 and losses(ours) == losses(theirs)
    assert "(teacher.backbone.*; BAM" in text
    assert (theirs / "loaded_backbone.json").is_file() and (ours / "loaded_backbone.json").is_file()


@pytest.mark.parametrize("library", WEIGHTS)
def test_a_file_that_does_not_fit_is_one_message_in_both(
    library, project, tool, upstream, tmp_path
):
    wrong = f"model.backbone.{WRONG[library]}"
    with pytest.raises(InputError, match=r"does not hold the config's backbone .* missing"):
        upstream(library, tmp_path / "theirs", wrong)
    ours = ("train.py", CONFIGS[library], "--work-dir", tmp_path / "ours")
    one_message(tool(*ours, options=[*SHORT[library], wrong]), WEIGHTS[library], "missing")


def test_a_wrong_path_is_one_message_in_both(project, tool, upstream, tmp_path):
    wrong = "model.backbone.init_cfg.checkpoint=work_dirs/bam_vit-small/epoch_3000.pth"
    with pytest.raises(InputError, match=r"epoch_3000\.pth"):
        upstream("mmpretrain", tmp_path / "theirs", wrong)
    ours = ("train.py", CONFIGS["mmpretrain"], "--work-dir", tmp_path / "ours")
    one_message(tool(*ours, options=[*SHORT["mmpretrain"], wrong]), "epoch_3000.pth")


def test_the_student_is_loaded_if_asked_for_and_missed_if_it_is_not_there(
    project, upstream, tmp_path
):
    student = "model.backbone.init_cfg.branch=student"
    frozen = ["optim_wrapper.optimizer.lr=0.0", student]
    upstream("mmpretrain", tmp_path / "w", *frozen)
    trained = read_checkpoint(tmp_path / "w/epoch_1.pth")["state_dict"]
    state = read_checkpoint(WEIGHTS["mmpretrain"])["state_dict"]
    for key in ("backbone.pos_embed", "backbone.layers.0.ln1.weight", "backbone.ln1.weight"):
        assert trained[key].equal(state[key]) and not trained[key].equal(state[f"teacher.{key}"])
    only_teacher = {k: v for k, v in state.items() if k.startswith("teacher.")}
    torch.save(dict(state_dict=only_teacher), tmp_path / "teacher.pth")
    file = f"model.backbone.init_cfg.checkpoint={tmp_path}/teacher.pth"
    with pytest.raises(InputError, match="student"):
        upstream("mmpretrain", tmp_path / "w2", file, student)
