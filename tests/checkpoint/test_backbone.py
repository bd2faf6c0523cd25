"""Loading a backbone with proof that all its tensors were loaded."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS as ROOT
from mmpretrain.registry import MODELS

from bam_mm import InputError
from bam_mm.checkpoint import load_backbone
from tests.checkpoint.layouts import prefixed

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)


def vit(seed, **kwargs):
    torch.manual_seed(seed)
    config = dict(type="mmpretrain.MoCoV3ViT", arch=ARCH, img_size=32, patch_size=8, **kwargs)
    model = MODELS.build(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


def bam_state():
    student, teacher = vit(1).state_dict(), vit(2).state_dict()
    heads = {"neck.fc.weight": torch.ones(2, 2), "teacher.neck.fc.weight": torch.ones(2, 2)}
    state = {
        **prefixed("backbone.", student),
        **prefixed("teacher.backbone.", teacher),
        **heads,
    }
    return state, student, teacher


def save(tmp_path, content, name="c.pth"):
    torch.save(content, tmp_path / name)
    return tmp_path / name


def same(model, state):
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], state[k]) for k in own)


@pytest.mark.parametrize("wrap", ["", "module."])
@pytest.mark.parametrize("container", ["state_dict", "model", None])
def test_both_branches_of_a_bam_checkpoint(tmp_path, wrap, container):
    state, student, teacher = bam_state()
    state = prefixed(wrap, state)
    path = save(tmp_path, {container: state, "meta": {"epoch": 3}} if container else state)
    for branch, wanted, prefix in (
        ("teacher", teacher, "teacher.backbone."),
        ("student", student, "backbone."),
    ):
        model = vit(3)
        report = load_backbone(model, path, branch=branch)
        assert same(model, wanted)
        assert (report.prefix, report.loaded, report.resized) == (prefix, len(wanted), [])
        assert len(report.unused) == len(state) - len(wanted)


def test_file_without_a_teacher_loads_its_backbone(tmp_path):
    state = vit(1).state_dict()
    for prefix in ("backbone.", ""):
        model = vit(2)
        extra = {"head.fc.weight": torch.ones(3)}
        report = load_backbone(model, save(tmp_path, {**prefixed(prefix, state), **extra}))
        assert same(model, state) and report.prefix == prefix
        assert report.unused == ["head.fc.weight"]


def test_position_embedding_is_resized_bicubically_and_reported(tmp_path):
    state = vit(1).state_dict()  # 4 x 4 patches and a class token
    model = vit(2)
    model.load_state_dict(state)
    torch.manual_seed(0)
    larger = MODELS.build(
        dict(type="mmpretrain.MoCoV3ViT", arch=ARCH, img_size=(32, 56), patch_size=8)
    )
    report = load_backbone(larger, save(tmp_path, state))
    assert report.resized == ["pos_embed: 4x4 -> 4x7"] and "4x4 -> 4x7" in str(report)
    table = state["pos_embed"][0]
    wanted = F.interpolate(
        table[1:].T.reshape(1, 16, 4, 4), size=(4, 7), mode="bicubic", align_corners=False
    )
    torch.testing.assert_close(larger.pos_embed[0, 0], table[0])
    torch.testing.assert_close(larger.pos_embed[0, 1:], wanted[0].flatten(1).T)


def assert_refused(tmp_path, state, *words, branch="teacher"):
    model = vit(5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_backbone(model, save(tmp_path, state), branch=branch)
    for word in words:
        assert word in str(caught.value), caught.value
    assert same(model, before)


def test_missing_tensor_raises(tmp_path):
    state, *_ = bam_state()
    # The student is complete, but must not replace an incomplete teacher.
    del state["teacher.backbone.layers.1.attn.qkv.bias"]
    assert_refused(tmp_path, state, "1 missing: layers.1.attn.qkv.bias", "teacher.backbone.*")


def test_wrong_shape_raises(tmp_path):
    state = vit(1).state_dict()
    state["ln1.weight"] = torch.ones(17)
    assert_refused(tmp_path, state, "of another shape: ln1.weight ((17,), the backbone has (16,))")


def test_deeper_backbone_raises_although_no_tensor_is_missing(tmp_path):
    state = vit(1).state_dict()
    second = {k: v for k, v in state.items() if k.startswith("layers.1.")}
    third = {"layers.2." + k.removeprefix("layers.1."): v for k, v in second.items()}
    for prefix in ("backbone.", ""):
        words = f"{len(third)} left over: layers.2."
        assert_refused(tmp_path, prefixed(prefix, state | third), words)


def test_position_embedding_that_is_not_square_raises(tmp_path):
    state = vit(1).state_dict()
    state["pos_embed"] = torch.ones(1, 16, 16)  # a class token and 15 positions
    assert_refused(tmp_path, state, "of another shape: pos_embed ((1, 16, 16)")


def test_files_without_tensors_and_unknown_branches(tmp_path):
    assert_refused(tmp_path, {"state_dict": {}, "meta": {}}, "holds no tensors")
    assert_refused(tmp_path, vit(1).state_dict(), "choose 'teacher' or 'student'", branch="ema")
    with pytest.raises(InputError, match="does not exist"):
        load_backbone(vit(1), tmp_path / "none.pth")


def test_convolutional_backbone_with_statistics(tmp_path):
    config = dict(type="mmpretrain.ResNet", depth=18, base_channels=8)
    torch.manual_seed(0)
    one, two = ROOT.build(config), ROOT.build(config)
    for name, value in one.state_dict().items():
        if value.is_floating_point():
            value.normal_()
        else:
            assert name.endswith("num_batches_tracked")
    state = {k: v for k, v in one.state_dict().items() if not k.endswith("num_batches_tracked")}
    report = load_backbone(two, save(tmp_path, prefixed("teacher.backbone.", state)))
    assert report.loaded == len(state) and same(two, one.state_dict())
    del state["bn1.running_var"]
    with pytest.raises(InputError, match=r"1 missing: bn1.running_var"):
        load_backbone(two, save(tmp_path, prefixed("teacher.backbone.", state)))
