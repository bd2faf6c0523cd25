"""tools/convert_checkpoint.py and the functions that it calls."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bam_mm import InputError
from bam_mm.checkpoint import convert, convert_checkpoint, file_digest, read_checkpoint
from tests.checkpoint.layouts import dino, head, mae, mm_vit, moco_v3, timm_vit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def tool(*args):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools/convert_checkpoint.py"), *map(str, args)],
        capture_output=True, text=True, cwd=ROOT, timeout=400,
    )  # fmt: skip


def test_formats_hold_the_same_weights(tmp_path):
    state = timm_vit(1).state_dict()
    torch.save(mae(state), tmp_path / "mae.pth")
    reports = [
        convert_checkpoint(tmp_path / "mae.pth", tmp_path / name, to=to)
        for name, to in (
            ("a.pth", "timm"),
            ("b.safetensors", "timm"),
            ("c.safetensors", "mmpretrain"),
        )
    ]
    assert len({report.digest for report in reports}) == 1
    assert [report.renamed for report in reports] == [0, 0, len(state) - 2]  # cls_token, pos_embed
    a, b = (read_checkpoint(tmp_path / name) for name in ("a.pth", "b.safetensors"))
    assert a.keys() == b.keys() == state.keys()
    assert all(torch.equal(a[key], state[key]) and torch.equal(b[key], state[key]) for key in a)
    c = read_checkpoint(tmp_path / "c.safetensors")
    assert torch.equal(c["backbone.ln1.weight"], state["norm.weight"])
    assert file_digest(tmp_path / "b.safetensors") != file_digest(tmp_path / "a.pth")
    back = convert_checkpoint(tmp_path / "c.safetensors", tmp_path / "d.safetensors", to="timm")
    assert back.digest == reports[0].digest
    # Keys in a safetensors file are sorted by name, so the files are identical.
    assert file_digest(tmp_path / "d.safetensors") == file_digest(tmp_path / "b.safetensors")


def test_branches(tmp_path):
    student, teacher = timm_vit(1).state_dict(), timm_vit(2).state_dict()
    torch.save(moco_v3(student, teacher), tmp_path / "moco.pth")
    for branch, state in (("student", student), ("teacher", teacher)):
        convert_checkpoint(tmp_path / "moco.pth", tmp_path / "c.pth", to="timm", branch=branch)
        written = read_checkpoint(tmp_path / "c.pth")
        assert written.keys() == state.keys()
        assert all(torch.equal(written[key], state[key]) for key in state)


def test_unknown_names_raise(tmp_path):
    state = timm_vit(1).state_dict()
    state["blocks.1.nrom1.bias"] = state.pop("blocks.1.norm1.bias")
    with pytest.raises(InputError, match=r"no rule covers 1 of 30 tensors \(blocks.1.nrom1.bias\)"):
        convert(state, "mmpretrain")
    with pytest.raises(InputError, match=r"no architecture in the tables \(BEiT, MetaFormer, ViT"):
        convert(head("features.0.weight"), "timm")
    with pytest.raises(InputError, match="--to keras: choose one of mmpretrain, timm"):
        convert(state, "keras")
    torch.save(state, tmp_path / "c.pth")
    with pytest.raises(InputError, match=r"nrom1"):
        convert_checkpoint(tmp_path / "c.pth", tmp_path / "d.pth", to="timm")
    assert not (tmp_path / "d.pth").exists()


def test_wrapped_timm_model_is_unwrapped():
    state = timm_vit(1).state_dict()
    wrapped = {f"timm_model.{key}": value for key, value in state.items()}
    assert convert(wrapped, "timm").keys() == state.keys()
    assert convert(wrapped, "mmpretrain").keys() == convert(state, "mmpretrain").keys()
    assert list(convert({"timm_model.features.0.weight": 1}, "timm")) == ["features.0.weight"]


def test_tool_loads_the_result_into_a_model(tmp_path):
    teacher = timm_vit(2)
    torch.save(dino(timm_vit(1).state_dict(), teacher.state_dict()), tmp_path / "dino.pth")
    config = tmp_path / "config.py"
    arch = "dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=96)"
    config.write_text(
        "model = dict(backbone=dict(type='mmpretrain.MoCoV3ViT', img_size=32, patch_size=8, "
        f"arch={arch}))\n"
    )
    result = tool(
        tmp_path / "dino.pth", tmp_path / "out.pth", "--to", "mmpretrain", "--model", config
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "(DINO: ViT, timm's names)" in result.stdout
    assert "30 of 30 tensors of the backbone converted, 28 under another name" in result.stdout
    assert "converted back, has the names of the source" in result.stdout
    assert "proof: loaded all 30 tensors of the backbone" in result.stdout


def test_model_that_does_not_fit_raises(tmp_path):
    torch.save(timm_vit(1).state_dict(), tmp_path / "c.pth")
    arch = dict(embed_dims=24, num_layers=3, num_heads=3, feedforward_channels=96)
    with pytest.raises(InputError, match=r"12 missing: layers.2.ln1.weight, .*choose another bran"):
        convert_checkpoint(
            tmp_path / "c.pth", tmp_path / "d.pth", to="mmpretrain", model=mm_vit(1, arch=arch)
        )


def test_tool_does_not_overwrite_its_source(tmp_path):
    state = mm_vit(1).state_dict()
    torch.save(state, tmp_path / "c.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "c.pth")
    before = file_digest(tmp_path / "c.pth")
    for target in ("c.pth", "link.pth"):
        with pytest.raises(InputError, match="is the source: choose another name"):
            convert_checkpoint(tmp_path / "c.pth", tmp_path / target, to="timm")
    with pytest.raises(InputError, match="create it first"):
        convert_checkpoint(tmp_path / "c.pth", tmp_path / "none" / "d.pth", to="timm")
    assert file_digest(tmp_path / "c.pth") == before
