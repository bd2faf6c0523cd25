"""Numbers that are not a network's: their type, NaN, zeros; conversions are reported."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from torch import nn

from bam_mm import InputError
from bam_mm.checkpoint import convert_checkpoint, load_backbone, load_weights
from tests.checkpoint.layouts import mm_vit, timm_vit


@pytest.fixture
def save(tmp_path):
    def save_state(state):
        torch.save(state, tmp_path / "c.pth")
        return tmp_path / "c.pth"

    return save_state


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_conversion_is_reported(save, dtype):
    state = {key: value.to(dtype) for key, value in timm_vit(1).state_dict().items()}
    mine = mm_vit(2)
    report = load_backbone(mine, save(state))
    name = str(dtype).removeprefix("torch.")
    assert report.converted == f"converted from {name} to float32"
    assert report.converted in str(report)
    assert mine.cls_token.dtype == torch.float32
    assert torch.equal(mine.cls_token, state["cls_token"].float())
    state["cls_token"] = state["cls_token"].float()
    report = load_backbone(mine, save(state))
    assert report.converted == f"converted from {name} (29 tensors) to float32"


def test_nothing_is_reported_without_a_conversion(save):
    assert load_backbone(mm_vit(2), save(timm_vit(1).state_dict())).converted == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), r"\(1 NaN of 2,304 values\)"),
        (float("inf"), r"\(1 infinite of 2,304 values\)"),
        (-float("inf"), r"\(1 infinite of 2,304 values\)"),
        (1e300, r"\(1 infinite of 2,304 values\)"),  # as float32
    ],
)
def test_numbers_that_are_not_finite_stop(save, tmp_path, value, words):
    state = {key: tensor.double() for key, tensor in timm_vit(1).state_dict().items()}
    state["blocks.1.mlp.fc1.weight"][3, 5] = value
    mine = mm_vit(2)
    before = mine.layers[1].ffn.layers[0][0].weight.clone()
    place = r"layers.1.ffn.layers.0.0.weight \(blocks.1.mlp.fc1.weight in the file\) "
    with pytest.raises(InputError, match=rf"is broken: {place}{words}.*an earlier checkpoint"):
        load_backbone(mine, save(state))
    assert torch.equal(mine.layers[1].ffn.layers[0][0].weight, before)
    with pytest.raises(InputError, match=rf"blocks.1.mlp.fc1.weight {words}"):
        load_weights(timm_vit(2), save(state))
    if value != 1e300:
        with pytest.raises(InputError, match=rf"blocks.1.mlp.fc1.weight {words}"):
            convert_checkpoint(tmp_path / "c.pth", tmp_path / "d.pth", to="timm")
        assert not (tmp_path / "d.pth").exists()


def quantised(tensor):
    return torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)


KINDS = {
    "int8": lambda t: (100 * t).to(torch.int8),
    "int64": lambda t: t.long(),
    "bool": lambda t: t > 0,
    "complex64": lambda t: t.to(torch.complex64),
    "float8_e4m3fn": lambda t: t.to(torch.float8_e4m3fn),
    "quantised": quantised,
    "sparse_coo": lambda t: t.to_sparse(),
    "on meta": lambda t: t.to("meta"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", ["one", "all"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_types_stop(monkeypatch, kind, count):
    """Read from memory, because torch does not read all of them without running code."""
    state = timm_vit(1).state_dict()
    for key in list(state) if count == "all" else ["pos_embed"]:
        state[key] = KINDS[kind](state[key])
    for module in ("backbone", "model"):
        name = f"bam_mm.checkpoint.{module}.read_checkpoint"
        monkeypatch.setattr(name, lambda path, trust=False: state)
    number = {"one": 1, "all": 30}[count]
    words = rf"c.pth does not hold its weights as floating.*\({number} of .*{kind}.*save them as"
    for load in (load_backbone, load_weights):
        with pytest.raises(InputError, match=words):
            load(mm_vit(2) if load is load_backbone else timm_vit(2), "c.pth")


@pytest.mark.parametrize("name", ["norm.weight", "patch_embed.proj.weight"])
def test_zeros_that_no_image_passes_stop(save, tmp_path, name):
    state = timm_vit(1).state_dict()
    state[name].zero_()
    with pytest.raises(InputError, match=rf"all values of \S+ \({name} in the file\) are zero"):
        load_backbone(mm_vit(2), save(state))
    with pytest.raises(InputError, match=rf"all values of {name} are zero"):
        convert_checkpoint(tmp_path / "c.pth", tmp_path / "d.pth", to="timm")


def test_zeros_of_a_block_are_a_warning(save, monkeypatch):
    logger, lines = MMLogger.get_current_instance(), []
    monkeypatch.setattr(logger, "callHandlers", lambda record: lines.append(record))
    state = timm_vit(1).state_dict()
    state["blocks.1.norm2.weight"].zero_()
    state["blocks.1.norm2.bias"].zero_()  # Biases of zero are common.
    load_backbone(mm_vit(2), save(state))
    warned = [line.getMessage() for line in lines if line.levelno == logging.WARNING]
    assert len(warned) == 1 and "all values of 1 weights are zero" in warned[0]
    assert "layers.1.ln2.weight (blocks.1.norm2.weight in the file)" in warned[0]


def test_whole_models_ignore_wrappers(save):
    source, mine = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))
    state = {f"_orig_mod.{key}": value for key, value in source.state_dict().items()}
    load_weights(mine, save({"state_dict": state, "epoch": 3}))
    assert torch.equal(mine[0].weight, source[0].weight)
    for content, words in (
        ({"state_dict": [torch.ones(2)]}, r"has a list as state_dict, not tensors by name"),
        ({"state_dict": {**state, **source.state_dict()}}, r"several tensors whose names differ"),
        ({"state_dict": {"0.weight": "x"}}, r"2 missing: 0.weight, 0.bias"),
    ):
        with pytest.raises(InputError, match=words):
            load_weights(mine, save(content))
