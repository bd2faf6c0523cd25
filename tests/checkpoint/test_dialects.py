"""Names of Hugging Face and DINOv2: networks with them compute what their own library computes."""

import pytest
import torch
import torch.nn.functional as F

from bam_mm import InputError
from bam_mm.checkpoint import convert_checkpoint, load_backbone
from tests.checkpoint.layouts import (
    DEPTH,
    WIDTH,
    head,
    mm_beit,
    mm_vit,
    prefixed,
    timm_beit,
    timm_vit,
)

HEADS, SIDE = 3, 4

VIT = dict(
    norm1="layernorm_before", norm2="layernorm_after", fc1="intermediate.dense", fc2="output.dense"
)
DINOV2 = dict(norm1="norm1", norm2="norm2", fc1="mlp.fc1", fc2="mlp.fc2")


def random_state(names, registers=0):
    """Random tensors of a ViT under Hugging Face's names, without a timm model."""
    generator = torch.Generator().manual_seed(5)
    draw = lambda *shape: 0.3 * torch.randn(shape, generator=generator)  # noqa: E731
    state = {
        "embeddings.cls_token": draw(1, 1, WIDTH),
        "embeddings.position_embeddings": draw(1, 1 + SIDE**2, WIDTH),
        "embeddings.patch_embeddings.projection.weight": draw(WIDTH, 3, 8, 8) / 4,
        "embeddings.patch_embeddings.projection.bias": draw(WIDTH),
        "layernorm.weight": 1 + draw(WIDTH),
        "layernorm.bias": draw(WIDTH),
    }
    if registers:
        state["embeddings.register_tokens"] = draw(1, registers, WIDTH)
    for block in range(DEPTH):
        layer = f"encoder.layer.{block}."
        shapes = {
            **{f"attention.attention.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")},
            "attention.output.dense": (WIDTH, WIDTH),
            names["fc1"]: (4 * WIDTH, WIDTH),
            names["fc2"]: (WIDTH, 4 * WIDTH),
        }
        for name, shape in shapes.items():
            state[f"{layer}{name}.weight"], state[f"{layer}{name}.bias"] = (
                draw(*shape),
                draw(shape[0]),
            )
        for name in (names["norm1"], names["norm2"]):
            state[f"{layer}{name}.weight"], state[f"{layer}{name}.bias"] = (
                1 + draw(WIDTH),
                draw(WIDTH),
            )
        if names is DINOV2:
            for part in (1, 2):
                state[f"{layer}layer_scale{part}.lambda1"] = draw(WIDTH)
    return state


def forward(state, names, images):
    """The network as its paper defines it: query, key and value one by one. Returns [CLS]."""
    linear = lambda x, name: F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])  # noqa: E731
    norm = lambda x, name: F.layer_norm(  # noqa: E731
        x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6
    )
    stem = "embeddings.patch_embeddings.projection."
    patches = F.conv2d(images, state[f"{stem}weight"], state[f"{stem}bias"], stride=8)
    x = torch.cat([state["embeddings.cls_token"], patches.flatten(2).transpose(1, 2)], 1)
    x = x + state["embeddings.position_embeddings"]
    if "embeddings.register_tokens" in state:
        x = torch.cat([x[:, :1], state["embeddings.register_tokens"], x[:, 1:]], 1)
    for block in range(DEPTH):
        layer = f"encoder.layer.{block}."
        y = norm(x, layer + names["norm1"])
        parts = (linear(y, f"{layer}attention.attention.{p}") for p in ("query", "key", "value"))
        q, k, v = (p.unflatten(2, (HEADS, -1)).transpose(1, 2) for p in parts)
        y = ((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1) @ v
        y = linear(y.transpose(1, 2).flatten(2), f"{layer}attention.output.dense")
        x = x + y * state.get(f"{layer}layer_scale1.lambda1", 1)
        y = norm(x, layer + names["norm2"])
        y = linear(F.gelu(linear(y, layer + names["fc1"])), layer + names["fc2"])
        x = x + y * state.get(f"{layer}layer_scale2.lambda1", 1)
    return norm(x, "layernorm")[:, 0]


@pytest.fixture
def load(tmp_path):
    def save_and_load(model, content, **kwargs):
        torch.save(content, tmp_path / "c.pth")
        return load_backbone(model, tmp_path / "c.pth", **kwargs)

    return save_and_load


IMAGES = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32).sin()


def assert_computes(model, wanted):
    with torch.no_grad():
        output = model(IMAGES)
    output = output[-1] if isinstance(output, (tuple, list)) else output
    torch.testing.assert_close(output, wanted, rtol=0, atol=1e-6 * wanted.abs().max().item())


@pytest.mark.parametrize("prefix", ["", "vit.", "model.vit."])
def test_vit_of_hugging_face(load, prefix):
    state = random_state(VIT)
    extra = head("classifier.weight", "decoder.decoder_layers.0.layernorm_before.weight")
    content = prefixed(prefix, {**state, **head("pooler.dense.weight")}) | extra
    wanted = forward(state, VIT, IMAGES)
    for mine in (mm_vit(1), timm_vit(1)):
        report = load(mine, content)
        assert report.loaded == len(mine.state_dict()) and report.prefix == prefix
        assert "ViT, timm's names (from Hugging Face's ViT)" in report.layout
        assert report.changed == "joined query, key and value of 2 blocks"
        assert f"{prefix}pooler.dense.weight" in report.unused
        assert_computes(mine, wanted)


@pytest.mark.parametrize("registers", [0, 2])
def test_dinov2_of_hugging_face(load, registers):
    state = random_state(DINOV2, registers)
    extra = dict(reg_tokens=registers, no_embed_class=True) if registers else {}
    mine = timm_vit(1, init_values=1.0, **extra)
    report = load(mine, prefixed("dinov2.", state | head("embeddings.mask_token")))
    assert report.unused == ["dinov2.embeddings.mask_token"]
    assert ("since registers have none" in report.changed) == bool(registers)
    assert_computes(mine, forward(state, DINOV2, IMAGES))
    if not registers:
        mine = mm_vit(1, "VisionTransformer", layer_scale_init_value=1.0, out_type="cls_token")
        load(mine, state)
        assert_computes(mine, forward(state, DINOV2, IMAGES))


def dinov2_names(state, chunks=False):
    """The names of DINOv2's own repository, written by hand."""
    names = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.register_tokens": "register_tokens",
        "layernorm.": "norm.",
        "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        ".attention.output.dense.": ".attn.proj.",
        ".layer_scale1.lambda1": ".ls1.gamma",
        ".layer_scale2.lambda1": ".ls2.gamma",
    }
    result = {"mask_token": torch.zeros(1, WIDTH)}
    for key, value in state.items():
        for one, other in names.items():
            key = key.replace(one, other)
        for block in range(DEPTH):
            key = key.replace(f"encoder.layer.{block}.", f"blocks.{f'{block}.' * chunks}{block}.")
        if ".query." in key:
            value = torch.cat([state[k] for k in _parts(state, value)])
            key = key.replace(".attention.attention.query.", ".attn.qkv.")
        if ".key." not in key and ".value." not in key:
            result[key] = value
    return result


def _parts(state, query):
    name = next(key for key, value in state.items() if value is query)
    return [name.replace(".query.", f".{part}.") for part in ("query", "key", "value")]


@pytest.mark.parametrize("chunks", [False, True])
def test_dinov2_of_its_own_repository(load, tmp_path, chunks):
    state = random_state(DINOV2, registers=2)
    wanted = forward(state, DINOV2, IMAGES)
    content = {"teacher": prefixed("backbone.", dinov2_names(state, chunks))}
    mine = timm_vit(1, init_values=1.0, reg_tokens=2, no_embed_class=True)
    assert load(mine, content).loaded == len(mine.state_dict())
    assert_computes(mine, wanted)
    convert_checkpoint(tmp_path / "c.pth", tmp_path / "timm.safetensors", to="timm")
    mine = timm_vit(2, init_values=1.0, reg_tokens=2, no_embed_class=True)
    load_backbone(mine, tmp_path / "timm.safetensors")
    assert_computes(mine, wanted)
    with pytest.raises(InputError, match="no rule covers 1 of"):
        convert_checkpoint(tmp_path / "c.pth", tmp_path / "mm.pth", to="mmpretrain")


def test_backbones_without_registers_or_layer_scale_stop(load):
    state = dinov2_names(random_state(DINOV2, registers=2))
    with pytest.raises(
        InputError, match=r"left over: .*register_tokens.*timm:vit_small_patch14_reg4_dinov2@PATH"
    ):
        load(mm_vit(1, "VisionTransformer", layer_scale_init_value=1.0), state)
    del state["register_tokens"]
    with pytest.raises(
        InputError, match=r"4 left over: blocks.0.ls1.gamma.*layer_scale_init_value=1e-5"
    ):
        load(mm_vit(1), state)
    plain = random_state(VIT)
    with pytest.raises(InputError, match=r"4 missing.*LayerScale and the file has none"):
        load(mm_vit(1, "VisionTransformer", layer_scale_init_value=1.0), plain)


def test_missing_tensor_has_its_name_in_the_file(load):
    state = random_state(VIT)
    del state["encoder.layer.1.layernorm_after.bias"]
    words = r"1 missing: layers.1.ln2.bias \(encoder.layer.1.layernorm_after.bias in the file\)"
    with pytest.raises(InputError, match=words):
        load(mm_vit(1), state)
    state = random_state(VIT)
    del state["encoder.layer.1.attention.attention.key.bias"]
    with pytest.raises(
        InputError, match=r"missing: layers.1.attn.qkv.bias .*\{query,key,value\}.bias in"
    ):
        load(mm_vit(1), state)


def test_beit_of_hugging_face(load):
    model, mine = timm_beit(1), mm_beit(2)
    attention = ".attention.attention."
    names = {
        "blocks.": "encoder.layer.",
        ".norm1.": ".layernorm_before.",
        ".norm2.": ".layernorm_after.",
        ".attn.proj.": ".attention.output.dense.",
        ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.",
        ".gamma_": ".lambda_",
        ".attn.q_bias": f"{attention}query.bias",
        ".attn.v_bias": f"{attention}value.bias",
        ".attn.relative_position_bias_table": (
            f"{attention}relative_position_bias.relative_position_bias_table"
        ),
        "cls_token": "embeddings.cls_token",
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "fc_norm.": "pooler.layernorm.",
    }
    state = {}
    for key, value in model.state_dict().items():
        for one, other in names.items():
            key = key.replace(one, other)
        if ".attn.qkv." in key:
            for part, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[key.replace(".attn.qkv.", f".attention.attention.{part}.")] = third
        else:
            state[key] = value
    report = load(mine, prefixed("beit.", state))
    assert "BEiT, timm's names (from Hugging Face's BEiT)" in report.layout
    with torch.no_grad():
        torch.testing.assert_close(mine(IMAGES)[-1], model(IMAGES), rtol=0, atol=1e-5)
