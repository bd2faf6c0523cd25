"""The configs in examples/ in the libraries' own tools and in ours, and the pages around them."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from bam_mm import InputError
from bam_mm.checkpoint import read_checkpoint
from tests.end_to_end.own_project import EXAMPLES, SHORT, SPECIES, make_project
from tests.end_to_end.running import (
    command,
    lay_out_quickly,
    losses,
    one_message,
    run_script,
    tool_of,
)
from tests.pages import blocks, commands

PAGE = "docs/in_your_config.md"
CONFIGS = {path.name.partition("_")[0]: path for path in EXAMPLES.glob("*.py")}
WEIGHTS = {
    "mmdet": "work_dirs/bam_resnet50/epoch_300.pth",
    "mmseg": "work_dirs/bam_vit-small/epoch_300.pth",
    "mmpretrain": "work_dirs/bam_vit-small/epoch_300.pth",
}
WRONG = {"mmdet": "depth=34", "mmseg": "arch.num_layers=5", "mmpretrain": "arch.num_layers=5"}
LAST = {"mmdet": "epoch_12.pth", "mmseg": "iter_40000.pth", "mmpretrain": "epoch_100.pth"}
"""Last checkpoint of a complete training, as the page about inference names it."""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = make_project(tmp_path_factory.mktemp("project"))
    (folder / "examples").symlink_to(EXAMPLES)
    return folder


@pytest.fixture(autouse=True)
def in_project(project, monkeypatch):
    monkeypatch.chdir(project)
    lay_out_quickly(monkeypatch)


@pytest.fixture(scope="module")
def trained(project):
    """Work folders of the commands with ``bam-mm train`` on the page, by library."""
    folders = {}
    for words in commands(PAGE, "bam-mm train"):
        library = Path(words[2]).name.partition("_")[0]
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(project)
            lay_out_quickly(patch)
            command(*words[1:], "--cfg-options", *SHORT[library])
        folders[library] = project / words[words.index("--work-dir") + 1]
        [saved] = [p for p in folders[library].glob("*.pth") if not p.name.startswith("best")]
        saved.rename(folders[library] / LAST[library])
    return folders


def upstream(library, work, *options):
    """Train an example with the library's own tool, in this process."""
    run_script(tool_of(library, "train"), *_arguments(library, work, *options))


def _arguments(library, work, *options):
    return [CONFIGS[library], "--work-dir", work, "--cfg-options", *SHORT[library], *options]


@pytest.mark.parametrize("library", WEIGHTS)
def test_the_losses_are_the_same_in_both_kinds_of_tools(library, project, trained):
    assert set(CONFIGS) == set(trained) == set(WEIGHTS)
    theirs, ours = project / f"work/{library}", trained[library]
    if library == "mmpretrain":
        upstream(library, theirs)
    else:
        # A process of its own: nothing of this package is imported before the config is read.
        words = [sys.executable, tool_of(library, "train"), *_arguments(library, theirs)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    assert len(losses(ours)) == 2 and losses(ours) == losses(theirs)
    for work in (theirs, ours):
        proof = (work / "loaded_backbone.json").read_text()
        assert '"prefix": "teacher.backbone."' in proof


def test_the_page_starts_both_tools_of_each_library():
    own = {words[2]: words[3] for words in commands(PAGE, "bam-mm exec")}
    assert own == {f"{name}:train": f"examples/{path.name}" for name, path in CONFIGS.items()}


@pytest.mark.parametrize("library", WEIGHTS)
def test_a_file_that_does_not_fit_is_one_message_in_both(library, tool, tmp_path):
    wrong = f"model.backbone.{WRONG[library]}"
    with pytest.raises(InputError, match=r"does not hold the config's backbone .* missing"):
        upstream(library, tmp_path / "theirs", wrong)
    ours = ("train.py", CONFIGS[library], "--work-dir", tmp_path / "ours")
    one_message(tool(*ours, options=[*SHORT[library], wrong]), WEIGHTS[library], "missing")


def test_a_wrong_path_is_one_message_in_both(tool, tmp_path):
    wrong = "model.backbone.init_cfg.checkpoint=work_dirs/bam_vit-small/epoch_3000.pth"
    with pytest.raises(InputError, match=r"epoch_3000\.pth"):
        upstream("mmpretrain", tmp_path / "theirs", wrong)
    ours = ("train.py", CONFIGS["mmpretrain"], "--work-dir", tmp_path / "ours")
    one_message(tool(*ours, options=[*SHORT["mmpretrain"], wrong]), "epoch_3000.pth")


def test_the_student_is_loaded_if_asked_for_and_missed_if_it_is_not_there(tmp_path):
    student = "model.backbone.init_cfg.branch=student"
    upstream("mmpretrain", tmp_path / "w", "optim_wrapper.optimizer.lr=0.0", student)
    trained = read_checkpoint(tmp_path / "w/epoch_1.pth")["state_dict"]
    state = read_checkpoint(WEIGHTS["mmpretrain"])["state_dict"]
    for key in ("backbone.pos_embed", "backbone.layers.0.ln1.weight", "backbone.ln1.weight"):
        assert trained[key].equal(state[key]) and not trained[key].equal(state[f"teacher.{key}"])
    only_teacher = {k: v for k, v in state.items() if k.startswith("teacher.")}
    torch.save(dict(state_dict=only_teacher), tmp_path / "teacher.pth")
    file = f"model.backbone.init_cfg.checkpoint={tmp_path}/teacher.pth"
    with pytest.raises(InputError, match="student"):
        upstream("mmpretrain", tmp_path / "w2", file, student)


def test_the_blocks_of_the_page_about_inference(trained, capsys, tmp_path):
    page = "docs/inference.md"
    [features, attention] = commands(page)
    command(*features[1:])
    names, shown = {}, {}
    for number, text in enumerate(blocks(page, "python")):
        # Checkpoints of two steps find nothing with certainty.
        block = tmp_path / f"block_{number}.py"
        block.write_text(text.replace("thr=0.3", "thr=0.0"))
        names = runpy.run_path(str(block), init_globals=names)
        shown[number] = capsys.readouterr().out
    assert "(10, 48) data/birds/val/crow/" in shown[0]
    found, vectors = names["found"], names["features"]
    assert np.array_equal(found.features, vectors) and found.names == list(names["names"])
    similar = names["units"] @ names["units"][0]
    assert similar.argmax() == 0 and names["order"].tolist() == np.argsort(-similar).tolist()
    assert len(shown[2].splitlines()) == 5
    assert len(names["predicted"]) == 5 and set(names["predicted"]) <= set(SPECIES.values())
    answers = [line.split() for line in shown[4].splitlines() if line.startswith("data/birds")]
    assert [path for path, *_ in answers] == found.names
    assert all(0.2 <= float(score) < 1 for _, _, score in answers)
    assert names["result"]["predictions"][0].shape == (96, 128)
    assert len(list(Path("shown/parts/vis").iterdir())) == 8
    assert len(list(Path("shown/aerial/vis").iterdir())) == 4
    assert_the_exported_network_is_the_same(names)
    command(*attention[1:])
    assert len(list(Path("shown/attention").glob("*.png"))) == 2


def assert_the_exported_network_is_the_same(names):
    loaded = torch.export.load("backbone.pt2").module()
    images = torch.randn(5, 3, 32, 32)
    with torch.no_grad():
        wanted = names["network"](images)
        torch.testing.assert_close(loaded(images), wanted)
    # onnx computes a graph in NumPy, in any number of images.
    [vectors] = ReferenceEvaluator("backbone.onnx").run(None, {"images": images.numpy()})
    np.testing.assert_allclose(vectors, wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert names["report"].preprocessing["mean"] == [123.675, 116.28, 103.53]
