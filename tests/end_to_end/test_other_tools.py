"""The libraries' own ``tools/train.py`` and ``test.py`` on this package's downstream configs."""

import pytest
import torch

from bam_mm import InputError
from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.launch.config import load_config
from bam_mm.registry import MODELS
from tests.end_to_end.running import lay_out_quickly, run_script, tool_of

PRETRAINING = "pretrain/bam_vit-toy-p8_1xb64-coslr-12e_toy"
CONFIGS = {
    "mmpretrain": ("cls/vit-toy-p8_1xb64-linear-coslr-10e_toy", "images"),
    "mmdet": ("det/vit-toy-p8_cascade-mask-rcnn_1xb2-8e_toy", "coco"),
    "mmseg": ("seg/vit-toy-p8_linear-head_1xb8-400i_toy", "ade20k"),
}
SHORT = """
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False)
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)
train_cfg = dict(_delete_=True, type='mmengine.IterBasedTrainLoop', max_iters=1, val_interval=9)
val_cfg = val_dataloader = val_evaluator = None
param_scheduler = []
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(by_epoch=False, interval=1), sync_buffers=dict(type='mmengine.EmptyCacheHook'),
)
# The weights stay as they were loaded.
optim_wrapper = dict(optimizer=dict(lr=0.0))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder: data where the configs expect them and elsewhere, and a BAM checkpoint."""
    folder = tmp_path_factory.mktemp("others")
    make_world(folder / "data/toy", scale=0.01)
    (folder / "mine").symlink_to(folder / "data/toy", target_is_directory=True)
    model = MODELS.build(load_config(PRETRAINING).model)
    state = {key: torch.rand_like(value.float()) for key, value in model.state_dict().items()}
    torch.save({"state_dict": state, "meta": {}}, folder / "bam.pth")
    for library, (base, _) in CONFIGS.items():
        (folder / f"{library}.py").write_text(f"_base_ = 'bam_mm::{base}.py'\n{SHORT}")
    return folder


@pytest.fixture
def run(folder, monkeypatch):
    """A function that runs a tool of a library in this process."""

    def run(library, tool, *arguments):
        monkeypatch.chdir(folder)
        lay_out_quickly(monkeypatch)
        run_script(tool_of(library, tool), *arguments)

    return run


@pytest.mark.parametrize("library", CONFIGS)
def test_a_checkpoint_reaches_the_backbone(library, folder, run, tmp_path):
    options = ["--cfg-options", "checkpoint=bam.pth"]
    run(library, "train", f"{library}.py", "--work-dir", tmp_path, *options)
    loaded = read_checkpoint(tmp_path / "iter_1.pth")["state_dict"]
    given = torch.load(folder / "bam.pth", weights_only=True)["state_dict"]
    key = "backbone.layers.2.attn.qkv.weight"
    assert torch.equal(loaded[key], given[f"teacher.{key}"])
    assert not torch.equal(loaded[key], given[key])


@pytest.mark.parametrize("library", CONFIGS)
def test_another_data_root_by_option_stops(library, run, tmp_path):
    data, own = CONFIGS[library][1], f"{library}.py"
    rest = ["--work-dir", tmp_path, "--cfg-options", f"data_root=mine/{data}", "checkpoint=random"]
    words = f"data_root = 'mine/{data}' changes nothing, because it was set after .*{own} had been"
    with pytest.raises(InputError, match=f"{words}.*train_dataloader.dataset.data_root .still"):
        run(library, "train", own, *rest)
    with pytest.raises(
        InputError, match=f"{words}.*: set test_dataloader.dataset.data_root .still"
    ):
        run(library, "test", own, "bam.pth", *rest)


def test_another_data_root_in_a_child_config_stops(folder, run, tmp_path):
    # Without hooks, nothing else would stop it: it would train on the base's images.
    text = "_base_ = 'mmpretrain.py'\ndata_root = 'mine/images'\ncustom_hooks = []\n"
    (folder / "child.py").write_text(text)
    with pytest.raises(
        InputError,
        match=r"child\.py: data_root = 'mine/images' changes nothing, .* set "
        r"train_dataloader.dataset.data_root \(still 'data/toy/images'\)",
    ):
        run("mmpretrain", "train", "child.py", "--work-dir", tmp_path)
