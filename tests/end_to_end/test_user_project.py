"""A user's folder with a config that inherits ours, under our commands and the libraries' own."""

import json
import subprocess
import sys

import pytest

from bam_mm.data.toy import make_world

QUICK = """
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""
EPOCH = "train_cfg = dict(max_epochs=1, val_interval=1)\n"
STEPS = "train_cfg = dict(max_iters=2, val_interval=2)\n"
STEPS += "default_hooks = dict(checkpoint=dict(interval=2))\n"
PROJECTS = {
    "mmpretrain": ("cls/vit-toy-p8_1xb64-coslr-4e_toy", EPOCH, "accuracy/top1"),
    "mmseg": ("seg/vit-toy-p8_linear-head_1xb8-400i_toy", STEPS, "mIoU"),
    "mmdet": ("det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy", EPOCH, "coco/bbox_mAP"),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A user's folder, far from the package, with data in data/toy."""
    folder = tmp_path_factory.mktemp("project")
    make_world(folder / "data/toy", scale=0.012)
    return folder


def command(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "bam_mm", *arguments], cwd=folder, capture_output=True, text=True
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-4000:]
    return text


@pytest.mark.parametrize("library", PROJECTS)
def test_an_inherited_config_in_both_kinds_of_tools(library, project):
    base, length, metric = PROJECTS[library]
    own = project / f"{library}.py"
    own.write_text(f"_base_ = 'bam_mm::{base}.py'\n{QUICK}{length}")
    random = ["--cfg-options", "checkpoint=random"]
    command(project, "train", own.name, "--work-dir", f"work/{library}", *random)
    [checkpoint] = (project / f"work/{library}").glob("*.pth")
    out = project / f"{library}.json"
    command(project, "test", own.name, str(checkpoint), "--out", out.name)
    ours = json.loads(out.read_text())[metric]
    # The library's own tool, which knows nothing of this package.
    text = command(
        project, "exec", f"{library}:test", own.name, str(checkpoint), "--work-dir", "work/own"
    )
    line = [line for line in text.splitlines() if f"{metric}: " in line][-1]
    assert float(line.split(f"{metric}: ")[1].split()[0]) == pytest.approx(ours, abs=1e-3)


def test_a_config_by_its_name_writes_into_the_current_folder(project):
    text = command(
        project, "train", "pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy", "--cfg-options",
        "max_epochs=1", "train_dataloader.batch_size=16", "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False", "custom_hooks.2.k=5",
    )  # fmt: skip
    assert "kNN after 3 iterations" in text
    assert (project / "work_dirs/bam_vit-toy-p8_1xb64-coslr-12e_toy/epoch_1.pth").is_file()
