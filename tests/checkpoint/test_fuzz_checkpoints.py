"""Random files and contents: the readers return a result or raise InputError, nothing else."""

import io

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from bam_mm import InputError
from bam_mm.checkpoint import convert_checkpoint, load_backbone, load_weights, read_checkpoint
from bam_mm.checkpoint.branches import BRANCHES, find_branch
from bam_mm.checkpoint.recorded_config import recorded_backbone
from tests.checkpoint.layouts import bam_released, dino, mae, mm_vit, moco_v3, prefixed, timm_vit
from tests.fuzzing import fuzz_settings

DTYPES = (
    torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64,
    torch.bool, torch.complex64, torch.float8_e4m3fn,
)  # fmt: skip
WORDS = (
    "state_dict", "model", "module", "teacher", "student", "model_ema", "ema_state_dict", "encoder",
    "target_encoder", "backbone", "momentum_backbone", "optimizer", "target_net", "0", "visual",
    "head", "", ".", "_orig_mod", "steps", "blocks.0.norm1.weight", "layers.1.ln1.bias",
    "cls_token", "pos_embed", "register_tokens", "blocks.0.1.attn.qkv.weight",
    "embeddings.cls_token",
    "encoder.layer.0.attention.attention.query.weight", "layer1.0.conv1.weight", "timm_model",
    "encoder.layer.0.attention.attention.key.weight", "blocks.0.attn.q_bias", "_flat_param",
    "encoder.layer.0.attention.attention.value.weight", "meta", "cfg", "reg_token",
)  # fmt: skip

keys = st.one_of(
    st.sampled_from(WORDS),
    st.lists(st.sampled_from(WORDS), min_size=2, max_size=3).map(".".join),
    st.integers(-2, 9),
    st.text(max_size=4),
    st.none(),
)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 5), max_size=4))
    value = draw(st.sampled_from([0.0, 1.0, float("nan"), float("inf")]))
    return torch.full(shape, value).nan_to_num(2.0).to(draw(st.sampled_from(DTYPES)))


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
contents = st.recursive(
    st.one_of(tensors(), tensors(), plain),
    lambda inner: st.one_of(
        st.dictionaries(keys, inner, max_size=5), st.lists(inner, max_size=3), st.tuples(inner)
    ),
    max_leaves=12,
)

STATE = timm_vit(1).state_dict()
REAL = (
    STATE,
    {"model": STATE, "model_ema": STATE},
    {"state_dict": {**prefixed("backbone.", STATE), **prefixed("teacher.backbone.", STATE)}},
    dino(STATE, STATE),
    moco_v3(STATE, STATE),
    mae(STATE),
    bam_released(STATE, STATE),
    mm_vit(1).state_dict(),
)


def fault_of(action, *args, **kwargs):
    """Return the message of an InputError; any other exception fails the test."""
    try:
        action(*args, **kwargs)
    except InputError as error:
        assert len(str(error)) > 10
        return str(error)
    return None


@pytest.fixture(scope="module")
def models():
    return mm_vit(3), timm_vit(3)


@given(content=contents)
@fuzz_settings()
def test_random_contents(tmp_path, models, content):
    path = tmp_path / "c.pth"
    torch.save(content, path)
    if fault_of(read_checkpoint, path) is None:
        for branch in BRANCHES:
            fault_of(load_backbone, models[0], path, branch)
        fault_of(load_weights, models[1], path)
        fault_of(convert_checkpoint, path, tmp_path / "out.pth", to="timm")
        fault_of(recorded_backbone, path)


@given(real=st.sampled_from(REAL), data=st.data())
@fuzz_settings()
def test_changed_checkpoints(models, real, data):
    content = {k: dict(v) if isinstance(v, dict) else v for k, v in real.items()}
    for _ in range(data.draw(st.integers(1, 3))):
        level = content
        key = data.draw(st.sampled_from(sorted(level, key=str)))
        if isinstance(level[key], dict) and level[key] and data.draw(st.booleans()):
            level = level[key]
            key = data.draw(st.sampled_from(sorted(level, key=str)))
        value = level.pop(key)
        new = data.draw(st.sampled_from(["drop", "rename", "type", "shape", "other"]))
        if new == "rename":
            level[data.draw(keys.map(str)) + str(key)] = value
        elif new == "type" and isinstance(value, torch.Tensor):
            level[key] = value.to(data.draw(st.sampled_from(DTYPES)))
        elif new == "shape" and isinstance(value, torch.Tensor):
            level[key] = value.reshape(1, -1)[:, : data.draw(st.integers(0, 2))]
        elif new == "other":
            level[key] = data.draw(contents)
        if not content:
            return
    for branch in BRANCHES:
        fault_of(find_branch, content, branch, "c.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bam_mm.checkpoint.backbone.read_checkpoint", lambda *_, **__: content)
        patch.setattr("bam_mm.checkpoint.backbone.file_digest", lambda _: "")
        fault_of(load_backbone, models[0], "c.pth", data.draw(st.sampled_from(BRANCHES)))


def saved(content, **kwargs):
    file = io.BytesIO()
    torch.save(content, file, **kwargs)
    return file.getvalue()


SMALL = {"state_dict": {"cls_token": torch.ones(3), "blocks.0.norm1.weight": torch.ones(2)}}
FILES = (
    saved(SMALL),
    saved(SMALL, _use_new_zipfile_serialization=False),
    save(SMALL["state_dict"]),
    b"",
    b'{"weight_map": {"a": "b.safetensors"}}',
)


@given(
    whole=st.sampled_from(FILES),
    name=st.sampled_from(["c.pth", "c.safetensors", "c.index.json", "c.npz"]),
    cut=st.floats(0, 1),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=4)), max_size=3),
    tail=st.binary(max_size=9),
)
@fuzz_settings()
def test_random_bytes(tmp_path, whole, name, cut, places, tail):
    content = bytearray(whole[: round(len(whole) * min(2 * cut, 1))] + tail)
    for place, new in places:
        if content:
            start = int(place * len(content))
            content[start : start + len(new)] = new
    path = tmp_path / name
    path.write_bytes(content)
    for read in (read_checkpoint, recorded_backbone):
        fault_of(read, path)
