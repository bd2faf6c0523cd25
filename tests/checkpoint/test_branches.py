"""Which weights a branch is, in the files of many codebases."""

import pytest
import torch

from bam_mm import InputError
from bam_mm.checkpoint import load_backbone
from bam_mm.checkpoint.branches import find_branch
from tests.checkpoint.layouts import ARCH, head, mm_vit, prefixed, timm_vit

STUDENT, TEACHER = torch.full((2,), 1.0), torch.full((2,), 2.0)


def vit(value):
    return {"cls_token": value, "blocks.0.norm1.weight": value, "blocks.1.attn.qkv.bias": value}


def mm(value):
    return {"cls_token": value, "layers.0.ln1.weight": value, "layers.0.ffn.layers.0.0.bias": value}


def hugging_face(value):
    return {
        "embeddings.cls_token": value,
        "encoder.layer.0.layernorm_before.weight": value,
        "encoder.layer.0.attention.output.dense.bias": value,
    }


def conv(value):
    """A network of no table."""
    return {"conv_stem.weight": value, "blocks.0.0.conv_pw.weight": value, "bn2.bias": value}


def swin(value):
    """Stages whose blocks have the names of a ViT."""
    return {f"layers.{stage}.blocks.0.norm1.weight": value for stage in range(3)}


BODIES = [vit, mm, hugging_face, conv, swin]

PAIRS = {
    "DeiT": lambda s, t: {"model": s, "model_ema": t, "epoch": 3},
    "timm": lambda s, t: {"state_dict": s, "state_dict_ema": t, "arch": "x"},
    "torchvision": lambda s, t: {
        "model": s,
        "model_ema": {"n_averaged": torch.tensor(3), **prefixed("module.", t)},
    },
    "BasicSR": lambda s, t: {"params": s, "params_ema": t},
    "nested average": lambda s, t: {"model": s, "ema": {"module": t, "updates": 3}},
    "mmengine": lambda s, t: {
        "state_dict": prefixed("backbone.", t),
        "ema_state_dict": {"steps": torch.tensor(3), **prefixed("module.backbone.", s)},
        "meta": {},
    },
    "Lightning": lambda s, t: {
        "state_dict": prefixed("net.", t),
        "current_model_state": prefixed("net.", s),
        "averaging_state": {"n_averaged": torch.tensor(3)},
    },
    "solo-learn": lambda s, t: {
        "state_dict": {
            **prefixed("backbone.", s),
            **prefixed("momentum_backbone.", t),
            **head("classifier.weight", "momentum_projector.0.weight"),
        },
        "hyper_parameters": {"lr": 0.1},
    },
    "lightly": lambda s, t: {
        "state_dict": {
            **prefixed("student_backbone.", s),
            **prefixed("teacher_backbone.", t),
            **head("student_head.layers.0.weight", "teacher_head.layers.0.weight"),
        }
    },
    "lightly, masked": lambda s, t: {
        "state_dict": {
            **prefixed("student_backbone.vit.", s),
            **prefixed("teacher_backbone.vit.", t),
        }
    },
    "mmpretrain BYOL": lambda s, t: {
        "state_dict": {
            **prefixed("backbone.", s),
            **prefixed("target_net.module.0.", t),
            **head("neck.fc0.weight", "target_net.module.1.fc0.weight"),
        }
    },
    "MoCo": lambda s, t: {
        "state_dict": {
            **prefixed("module.encoder_q.", s),
            **prefixed("module.encoder_k.", t),
            **head("module.queue", "module.encoder_q.fc.0.weight"),
        }
    },
    "I-JEPA": lambda s, t: {
        "encoder": prefixed("module.", s),
        "target_encoder": prefixed("module.", t),
        "predictor": prefixed("module.", vit(torch.zeros(2))),
        "opt": {"state": {0: {"exp_avg": torch.ones(2)}}},
    },
    "DINOv2": lambda s, t: {
        "model": {
            **prefixed("student.backbone.", s),
            **prefixed("teacher.backbone.", t),
            **head("student.dino_head.mlp.0.weight", "teacher.ibot_head.mlp.0.weight"),
        }
    },
    "iBOT": lambda s, t: {
        "student": prefixed("module.backbone.", {**s, "masked_embed": STUDENT}),
        "teacher": {**prefixed("backbone.", t), **head("head.mlp.0.weight")},
        "ibot_loss": head("center"),
    },
    "beside the model": lambda s, t: {"state_dict": prefixed("backbone.", s), "teacher": t},
    "byol-pytorch": lambda s, t: {
        **prefixed("online_encoder.net.", s),
        **prefixed("target_encoder.net.", t),
        **head("online_encoder.projector.0.weight", "online_predictor.0.weight"),
    },
    "an averaged BAM": lambda s, t: {
        "model": prefixed("backbone.", s) | prefixed("teacher.backbone.", conv(torch.zeros(2))),
        "model_ema": prefixed("backbone.", conv(torch.zeros(2))) | prefixed("teacher.backbone.", t),
    },
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
@pytest.mark.parametrize("name", PAIRS)
def test_the_branch_that_was_asked_for(name, body):
    if name == "an averaged BAM":
        body = conv
    content = PAIRS[name](body(STUDENT), body(TEACHER))
    for branch, value, other in (("teacher", TEACHER, "student"), ("student", STUDENT, "teacher")):
        found = find_branch(content, branch, "c.pth")
        tensors = {k: v for k, v in found.tensors.items() if not found.layout.is_aside(k)}
        assert len(tensors) == len(body(value))
        assert all(torch.equal(tensor, value) for tensor in tensors.values())
        assert any(other in candidate for candidate in found.candidates), found.candidates


ONE = {
    "bare": lambda s: s,
    "VICReg": lambda s: {
        "model": prefixed("module.backbone.", s) | head("module.projector.0.weight")
    },
    "SimCLR": lambda s: {"state_dict": prefixed("backbone.", {**s, **head("fc.0.weight")})},
    "Lightning": lambda s: {
        "state_dict": prefixed("model.", s),
        "callbacks": {"EMA": {"x": STUDENT}},
    },
    "Lightning, encoder": lambda s: {"state_dict": prefixed("net.encoder.", s)},
    "OpenCLIP": lambda s: {
        "state_dict": prefixed("module.visual.trunk.", s) | {"module.logit_scale": torch.ones(())}
    },
    "compiled inside": lambda s: prefixed("backbone._orig_mod.", s),
    "FSDP": lambda s: {"model": prefixed("_fsdp_wrapped_module.backbone._fsdp_wrapped_module.", s)},
    "recomputed": lambda s: {"module": prefixed("backbone._checkpoint_wrapped_module.", s)},
    "nested": lambda s: {"checkpoint": {"state_dict": s}},
    "VISSL": lambda s: {
        "classy_state_dict": {"base_model": {"model": {"trunk": s, "heads": {}}}, "losses": {}}
    },
    "only the average": lambda s: {"model_ema": s, "model": {}},
}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
@pytest.mark.parametrize("name", ONE)
def test_one_model_serves_as_both(name, body):
    content = ONE[name](body(TEACHER))
    branches = ("teacher",) if name == "only the average" else ("teacher", "student")
    for branch in branches:
        found = find_branch(content, branch, "c.pth")
        tensors = {k: v for k, v in found.tensors.items() if not found.layout.is_aside(k)}
        assert len(tensors) == len(body(TEACHER)) and found.candidates == []
        assert all(torch.equal(tensor, TEACHER) for tensor in tensors.values())


REFUSED = {
    "student alone": (
        {"student": vit(STUDENT)},
        "teacher",
        r"no teacher: .* student\.\*; set branch=student",
    ),
    "teacher alone": (
        {"teacher": vit(TEACHER)},
        "student",
        r"no student: .* teacher\.\*; set branch=teacher",
    ),
    "query encoder alone": (
        prefixed("encoder_q.", vit(STUDENT)),
        "teacher",
        r"encoder_q\.\*; set branch=st",
    ),
    "average alone": ({"model_ema": vit(TEACHER)}, "student", r"model_ema\.\*; set branch=te"),
    "teacher without its backbone": (
        {**prefixed("backbone.", vit(STUDENT)), **head("teacher.neck.fc.weight")},
        "teacher",
        r"no teacher: its backbone is backbone\.\*; set branch=student",
    ),
    "teacher without its backbone, nested": (
        {**prefixed("model.backbone.", vit(STUDENT)), **head("model.teacher.neck.fc.weight")},
        "teacher",
        r"no teacher: its backbone is model.backbone\.\*; set branch=student",
    ),
    "two averages": (
        {"model_ema": vit(TEACHER), "swa_model": vit(STUDENT)},
        "teacher",
        r"several backbones",
    ),
    "two models": (
        prefixed("first.", vit(TEACHER)) | prefixed("second.", vit(STUDENT)),
        "teacher",
        r"several backbones for branch=teacher \(first\.\*, second\.\*\): save the one",
    ),
    "two containers": (
        {"model": vit(STUDENT), "state_dict": vit(TEACHER)},
        "teacher",
        r"two tensors for cls_token",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_not_asked_for_does_not_come(name):
    content, branch, words = REFUSED[name]
    with pytest.raises(InputError, match=words):
        find_branch(content, branch, "c.pth")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": [vit(STUDENT)]}, r"holds no tensors \(its keys: model is a list\).*state_dict"),
        ({}, r"holds no tensors \(it is empty\)"),
        (
            dict(enumerate(vit(STUDENT).values())),
            r"3 tensors without names \(their keys: 0, 1, 2\).*state_dict\(\)",
        ),
        (
            {"model": {"_flat_param": STUDENT}},
            r"flat shards of FSDP \(_flat_param\).*FULL_STATE_DICT",
        ),
        (prefixed("m._fsdp_wrapped_module.", {"flat_param_0": STUDENT}), r"flat shards of FSDP"),
    ],
)
def test_contents_without_tensors_by_name(content, words):
    with pytest.raises(InputError, match=words):
        find_branch(content, "teacher", "c.pth")


def test_report_names_the_average_and_what_else_the_file_holds(tmp_path):
    model, average = timm_vit(1), timm_vit(2)
    content = {"model": model.state_dict(), "model_ema": average.state_dict()}
    torch.save(content, tmp_path / "c.pth")
    mine = mm_vit(3)
    report = load_backbone(mine, tmp_path / "c.pth")
    assert torch.equal(mine.cls_token, average.cls_token)
    assert (report.prefix, report.candidates) == ("model_ema.", ["bare keys (student)"])
    assert "(model_ema.*; a model and its moving average: ViT, timm's names)" in str(report)
    assert "the file also holds bare keys (student)" in str(report)
    report = load_backbone(mine, tmp_path / "c.pth", "student")
    assert torch.equal(mine.cls_token, model.cls_token)
    assert report.candidates == ["model_ema.* (teacher)"] and len(report.unused) == 30


def test_file_that_mmengine_writes_with_its_hook(tmp_path):
    """The hook exchanges the average and the trained weights before it saves them."""
    from types import SimpleNamespace

    from mmengine.hooks import EMAHook
    from mmengine.model import BaseModel
    from mmpretrain.registry import MODELS

    config = dict(type="MoCoV3ViT", arch=ARCH, img_size=32, patch_size=8)

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.backbone = MODELS.build(config)

        def forward(self, inputs):
            return inputs

    model = Model()
    hook = EMAHook()
    hook.before_run(SimpleNamespace(model=model))
    with torch.no_grad():
        model.backbone.cls_token.fill_(5.0)
        hook.ema_model.module.backbone.cls_token.fill_(7.0)
    content = {"state_dict": model.state_dict(), "meta": {}}
    hook.before_save_checkpoint(None, content)
    torch.save(content, tmp_path / "epoch_1.pth")
    for branch, value in (("teacher", 7.0), ("student", 5.0)):
        mine = mm_vit(1)
        report = load_backbone(mine, tmp_path / "epoch_1.pth", branch)
        assert report.layout.startswith("mmengine with EMAHook") and len(report.candidates) == 1
        assert mine.cls_token.unique().item() == value


@pytest.mark.parametrize("first", ["body.layer1.0.conv1.weight", "network.0.0.norm1.weight"])
def test_names_of_the_backbone_are_no_prefix(first):
    """As in TResNet and VOLO of timm, whose own names look like one."""
    names = [first, "body.layer1.1.conv1.weight", "network.0.1.norm1.weight", "norm.weight"]
    student, teacher = dict.fromkeys(names, STUDENT), dict.fromkeys(names, TEACHER)
    for content in (
        {"model": student, "model_ema": teacher},
        {"student": prefixed("timm_model.", student), "teacher": prefixed("timm_model.", teacher)},
    ):
        wanted = [f"timm_model.{name}" for name in names]
        for branch, value in (("teacher", TEACHER), ("student", STUDENT)):
            found = find_branch(content, branch, "c.pth", wanted)
            assert len(found.tensors) == 4 and found.tensors.popitem()[1] is value
