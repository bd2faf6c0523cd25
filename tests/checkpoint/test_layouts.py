"""Checkpoints of other codebases load completely, or raise an error that names the tensors."""

from argparse import Namespace

import pytest
import torch

from bam_mm import InputError
from bam_mm.checkpoint import load_backbone
from tests.checkpoint.layouts import (
    bam_released,
    dino,
    head,
    mae,
    mm_beit,
    mm_vit,
    moco_v3,
    prefixed,
    timm_beit,
    timm_caformer,
    timm_vit,
)


@pytest.fixture
def load(tmp_path):
    def save_and_load(model, content, **kwargs):
        torch.save(content, tmp_path / "c.pth")
        return load_backbone(model, tmp_path / "c.pth", **kwargs)

    return save_and_load


def features(model, images=None):
    with torch.no_grad():
        output = model(torch.ones(1, 3, 32, 32).cumsum(3) / 32 if images is None else images)
    return output[-1] if isinstance(output, (tuple, list)) else output


def assert_same_features(one, two):
    torch.testing.assert_close(features(one), features(two), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("layout", "name", "teacher_prefix", "student_prefix"),
    [
        (dino, "DINO", "teacher.backbone.", "student.backbone."),
        (moco_v3, "MoCo v3", "momentum_encoder.", "base_encoder."),
        (bam_released, "BAM (released code)", "teacher.backbone.", "student.backbone."),
    ],
)
def test_student_and_teacher_of_other_codebases(load, layout, name, teacher_prefix, student_prefix):
    student, teacher = timm_vit(1), timm_vit(2)
    content = layout(student.state_dict(), teacher.state_dict())
    content["args"] = Namespace(arch="vit_small", lr=0.1)
    for branch, model, prefix in (
        ("teacher", teacher, teacher_prefix),
        ("student", student, student_prefix),
    ):
        mine = mm_vit(3)
        report = load(mine, content, branch=branch)
        assert report.layout == f"{name}: ViT, timm's names"
        assert (report.prefix, report.loaded) == (prefix, len(mine.state_dict()))
        assert report.loaded == len(model.state_dict()) and report.resized == []
        assert_same_features(mine, model)
    others = len(student.state_dict())
    heads = {"dino": 4, "moco_v3": 3, "bam_released": 2}[layout.__name__]
    assert len(report.unused) == others + heads


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.module.", "module.module."])
def test_released_bam_without_a_teacher(load, wrapper):
    model, mine = timm_vit(1), mm_vit(2)
    state = {
        **prefixed(wrapper + "backbone.", model.state_dict()),
        **head(wrapper + "proj_head.mlp.0.weight"),
    }
    report = load(mine, {"model": state})
    assert (report.layout, report.prefix) == ("BAM (released code): ViT, timm's names", "backbone.")
    assert report.unused == ["proj_head.mlp.0.weight"]
    assert_same_features(mine, model)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_released_bam_of_a_caformer(load, batch_norm):
    from mmpretrain.registry import MODELS

    student, teacher = timm_caformer(1), timm_caformer(2)
    config = dict(type="TIMMBackbone", model_name="caformer_s18")
    mine = MODELS.build(config)
    mine.eval()
    content = bam_released(student.state_dict(), teacher.state_dict(), batch_norm)
    report = load(mine, content)
    assert report.layout == "BAM (released code): MetaFormer, timm's names"
    assert report.loaded == len(teacher.state_dict())
    teacher.reset_classifier(0, "")
    assert_same_features(mine, teacher)


@pytest.mark.parametrize("inner", ["", "encoder.", "backbone.", "module.encoder."])
def test_student_and_teacher_of_unknown_origin(load, inner):
    student, teacher = timm_vit(1), timm_vit(2)
    content = {
        "student": prefixed(inner, student.state_dict()),
        "teacher": prefixed(inner, teacher.state_dict()),
    }
    for branch, model in (("teacher", teacher), ("student", student)):
        mine = mm_vit(3)
        report = load(mine, content, branch=branch)
        assert report.layout == "a student and a teacher: ViT, timm's names"
        assert_same_features(mine, model)


def test_decoder_of_mae_is_skipped(load):
    encoder, mine = timm_vit(1), mm_vit(2, "VisionTransformer")
    report = load(mine, mae(encoder.state_dict()))
    assert report.layout == "MAE: ViT, timm's names" and report.prefix == ""
    assert len(report.unused) == 6 and "decoder_embed.weight" in report.unused
    assert_same_features(mine, encoder)


def test_timm_classifier(load):
    whole, mine = timm_vit(1, num_classes=7), mm_vit(2, "VisionTransformer")
    report = load(mine, whole.state_dict())
    assert report.layout == "one model: ViT, timm's names"
    assert report.unused == ["head.bias", "head.weight"]
    whole.reset_classifier(0)
    assert_same_features(mine, whole)


def test_layer_scale_and_pooling_norm(load):
    model = timm_vit(1, init_values=0.1, global_pool="avg", fc_norm=True)
    mine = mm_vit(
        2, "VisionTransformer", layer_scale_init_value=1.0, out_type="avg_featmap", final_norm=False
    )
    report = load(mine, model.state_dict())
    assert report.loaded == len(mine.state_dict())
    assert_same_features(mine, model)


def test_beit_as_fine_tuned(load):
    """One bias per block, and the norm after pooling. The original files also hold the index."""
    model, mine = timm_beit(1), mm_beit(2)
    state = model.state_dict()
    index = mine.state_dict()["layers.0.attn.relative_position_index"]
    for block in range(2):
        state[f"blocks.{block}.attn.relative_position_index"] = index
    report = load(mine, {"model": {**state, **head("head.weight", "head.bias")}})
    assert report.layout == "BEiT: BEiT, timm's names" and len(report.unused) == 2
    assert_same_features(mine, model)

    state["blocks.1.attn.relative_position_index"] = index.flip(0)
    with pytest.raises(InputError, match=r"another order of patches: layers.1.attn.*blocks.1.attn"):
        load(mine, {"model": state})


def test_beit_as_pretrained(load):
    """One bias for all blocks, the final norm, and the head that predicts visual tokens."""
    model = timm_beit(1, shared=True)
    mine = mm_beit(2, out_type="raw", final_norm=True)
    state = {k.replace("fc_norm.", "norm."): v for k, v in model.state_dict().items()}
    table = state["rel_pos_bias.relative_position_bias_table"]
    state["rel_pos_bias.relative_position_index"] = torch.zeros(17, 17, dtype=torch.long)
    extra = head("mask_token", "lm_head.weight", "lm_head.bias")
    report = load(mine, {"model": {**state, **extra}})
    assert report.changed == "copied the shared relative position bias to 2 blocks"
    assert report.changed in str(report) and len(report.unused) == 3
    for layer in mine.layers:
        torch.testing.assert_close(layer.attn.relative_position_bias_table, table)
    with torch.no_grad():
        tokens = features(mine)[:, 1:].mean(1)
        images = torch.ones(1, 3, 32, 32).cumsum(3) / 32
        model.fc_norm, norm = torch.nn.Identity(), model.fc_norm
        raw = model.forward_features(images)
        wanted = norm(raw)[:, 1:].mean(1)
    torch.testing.assert_close(tokens, wanted, rtol=0, atol=1e-5)

    shared = mm_beit(
        2, use_rel_pos_bias=False, use_shared_rel_pos_bias=True, out_type="raw", final_norm=True
    )
    state.pop("rel_pos_bias.relative_position_index")
    assert load(shared, {"model": {**state, **extra}}).changed == ""
    torch.testing.assert_close(features(shared), features(mine))


def test_error_names_the_architectures(load):
    with pytest.raises(InputError, match=r"BEiT, timm's names; the backbone: ViT, mmpretrain's"):
        load(mm_vit(1), timm_beit(1).state_dict())
    with pytest.raises(InputError, match=r"MetaFormer, timm's names; the backbone: ViT, mmpr"):
        load(mm_vit(1), timm_caformer(1).state_dict())


FAULTS = {
    "renamed": (
        "1 missing: layers.1.ln1.bias (blocks.1.norm1.bias in the file); "
        "1 left over: blocks.1.nrom1.bias"
    ),
    "missing": "1 missing: layers.1.ln1.bias (blocks.1.norm1.bias in the file))",
    "misshapen": (
        "1 of another shape: layers.1.ln1.bias (blocks.1.norm1.bias in the file) ((5,), the "
        "backbone has (24,))"
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("layout", ["timm", "mae", "dino", "moco_v3", "bam_released"])
def test_error_names_a_faulty_tensor(load, fault, layout):
    good, bad = timm_vit(1).state_dict(), timm_vit(2).state_dict()
    tensor = bad.pop("blocks.1.norm1.bias")
    if fault == "renamed":
        bad["blocks.1.nrom1.bias"] = tensor
    if fault == "misshapen":
        bad["blocks.1.norm1.bias"] = tensor[:5]
    makers = {"dino": dino, "moco_v3": moco_v3, "bam_released": bam_released}
    if layout in makers:
        content = makers[layout](good, bad)
    else:
        content = mae(bad) if layout == "mae" else bad
    mine = mm_vit(3)
    before = {key: value.clone() for key, value in mine.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load(mine, content)
    assert FAULTS[fault] in str(caught.value)
    assert all(torch.equal(before[key], value) for key, value in mine.state_dict().items())
    if layout in makers:  # The other branch is intact.
        load(mine, content, branch="student")


def test_two_tensors_with_the_same_name_raise(load):
    state = timm_vit(1).state_dict()
    state["module.cls_token"] = state["cls_token"]
    with pytest.raises(InputError, match=r"two tensors for cls_token .*module\.cls_token"):
        load(mm_vit(2), state)


def test_timm_backbone_accepts_bare_and_wrapped_names(load):
    """The architecture is not in any table."""
    import timm
    from mmpretrain.registry import MODELS

    model = timm.create_model("test_convnext", num_classes=0)
    for prefix in ("", "timm_model.", "backbone.timm_model."):
        mine = MODELS.build(dict(type="TIMMBackbone", model_name="test_convnext"))
        report = load(mine, prefixed(prefix, model.state_dict()))
        assert report.loaded == len(model.state_dict())
        state = mine.timm_model.state_dict()
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_models_of_timm_as_targets(load):
    source, mine = mm_vit(1), timm_vit(2)
    report = load(mine, {"state_dict": prefixed("teacher.backbone.", source.state_dict())})
    assert report.layout == "BAM: ViT, mmpretrain's names"
    assert_same_features(mine, source)


def test_digest_depends_on_the_weights_and_not_on_the_file(load):
    model = timm_vit(1)
    state = model.state_dict()
    one = load(mm_vit(2), state)
    two = load(mm_vit(3), dino(timm_vit(4).state_dict(), state))
    three = load(mm_vit(3), prefixed("backbone.", mm_copy(model)))
    assert one.digest == two.digest == three.digest
    assert len({one.file_sha256, two.file_sha256, three.file_sha256}) == 3
    state["blocks.0.attn.qkv.bias"][3] += 1e-3
    assert load(mm_vit(2), state).digest != one.digest


def mm_copy(model):
    from bam_mm.checkpoint import convert

    return convert(model.state_dict(), "mmpretrain")
