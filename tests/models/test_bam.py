"""BAM applies bam_loss to the right rows and runs the backbone once per resolution."""

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm import BAM, InputError, ViewLayout
from bam_mm.losses import bam_loss

LAYOUT = dict(num_global=2, num_local=2, global_size=16, local_size=8)


def build(**kw):
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    config = dict(
        backbone=dict(
            type="MoCoV3ViT",
            arch=dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
            img_size=16,
            patch_size=4,
            stop_grad_conv1=True,
        ),
        neck=dict(type="bam_mm.BAMProjector", in_channels=16, hid_channels=24, out_channels=12),
        head=dict(type="bam_mm.BAMHead"),
        layout=LAYOUT,
        data_preprocessor=dict(
            type="bam_mm.MultiViewPreprocessor", layout=LAYOUT, photometric_place="worker"
        ),
    )
    model = BAM(**{**config, **kw})
    model.init_weights()
    return model


def views(batch=5, dtype=torch.float32):
    g = torch.Generator().manual_seed(1)
    return [
        torch.randn(batch, 3, s, s, generator=g, dtype=dtype) for s in ViewLayout(**LAYOUT).sizes
    ]


class InputSizes:
    def __init__(self, module):
        self.sizes = []
        module.register_forward_pre_hook(lambda m, args: self.sizes.append(tuple(args[0].shape)))


def test_backbone_runs_once_per_resolution_and_the_teacher_on_global_views():
    model = build()
    student, teacher = InputSizes(model.backbone), InputSizes(model.teacher.backbone)
    model.loss(views())
    assert student.sizes == [(10, 3, 16, 16), (10, 3, 8, 8)]
    assert teacher.sizes == [(10, 3, 16, 16)]


def test_released_behaviour_shows_the_teacher_every_view():
    model = build(teacher_views="all")
    teacher = InputSizes(model.teacher.backbone)
    model.loss(views())
    assert teacher.sizes == [(10, 3, 16, 16), (10, 3, 8, 8)]


@pytest.mark.parametrize(
    "teacher_views,target_views", [("global", "global"), ("all", "global"), ("all", "all")]
)
def test_loss_is_bam_loss_of_view_major_rows(teacher_views, target_views):
    head = dict(type="bam_mm.BAMHead", target_views=target_views)
    model = build(teacher_views=teacher_views, head=head)
    with torch.no_grad():
        for p in model.teacher.parameters():
            p.add_(0.01 * torch.randn(p.shape, generator=torch.Generator().manual_seed(2)))
    inputs = views()
    wanted = bam_loss(
        torch.cat([model.neck(model.backbone(v)) for v in inputs]),
        torch.cat([model.teacher(v) for v in (inputs if teacher_views == "all" else inputs[:2])]),
        num_views=4,
        num_global=2,
        target_views=target_views,
    )
    assert model.loss(inputs)["loss"].item() == pytest.approx(wanted.item(), abs=1e-5)


@pytest.mark.parametrize("target_views", ["global", "all"])
def test_without_teacher_gradients_flow_through_the_keys(target_views):
    head = dict(type="bam_mm.BAMHead", target_views=target_views)
    model = build(use_teacher=False, head=head)
    assert model.teacher is None and not any("teacher" in k for k in model.state_dict())
    inputs = views()
    rows = torch.cat([model.neck(model.backbone(v)) for v in inputs])
    wanted = bam_loss(rows, None, num_views=4, num_global=2, target_views=target_views)
    gradient = torch.autograd.grad(wanted, model.neck.layers[0].weight)[0]
    model.loss(inputs)["loss"].backward()
    torch.testing.assert_close(model.neck.layers[0].weight.grad, gradient, atol=1e-5, rtol=1e-4)


def test_the_teacher_starts_as_the_initialised_student():
    model = build()
    state = model.state_dict()
    for name, value in model.backbone.state_dict().items():
        assert torch.equal(state[f"teacher.backbone.{name}"], value)
    for name, value in model.neck.state_dict().items():
        assert torch.equal(state[f"teacher.neck.{name}"], value)
    assert {k.split(".")[0] for k in state} == {"backbone", "neck", "teacher"}


def test_fixed_parts_of_the_vit_get_no_gradient():
    model = build()
    model.loss(views())["loss"].backward()
    assert model.backbone.patch_embed.projection.weight.grad is None
    assert model.backbone.pos_embed.grad is None
    assert model.backbone.layers[0].attn.qkv.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.teacher.parameters())


def test_frozen_parameters_are_known_before_the_weights_are_initialised():
    # DistributedDataParallel is built before that, and waits for the gradients of all others.
    config = build().backbone.arch_settings
    model = build(backbone=dict(type="MoCoV3ViT", arch=config, img_size=16, patch_size=4))
    fresh = BAM(
        backbone=dict(type="MoCoV3ViT", arch=config, img_size=16, patch_size=4),
        neck=dict(type="bam_mm.BAMProjector", in_channels=16, hid_channels=24, out_channels=12),
        head=dict(type="bam_mm.BAMHead"),
        layout=LAYOUT,
        data_preprocessor=dict(type="bam_mm.MultiViewPreprocessor", layout=LAYOUT),
    )
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert [n for n, p in fresh.named_parameters() if p.requires_grad] == trained
    model.loss(views())["loss"].backward()
    named = dict(model.named_parameters())
    assert all(named[n].grad is not None for n in trained)


def test_update_teacher_reaches_both_parts():
    model = build()
    with torch.no_grad():
        model.neck.layers[0].bias.fill_(1.0)
        model.backbone.cls_token.fill_(2.0)
    start = model.teacher.neck.layers[0].bias.clone()
    model.update_teacher(0.75)
    torch.testing.assert_close(model.teacher.neck.layers[0].bias, 0.75 * start + 0.25)
    assert model.teacher.backbone.cls_token.mean().item() == pytest.approx(0.5, abs=1e-4)


def test_projector_with_and_without_batch_norm():
    plain = build().neck
    normed = build(
        neck=dict(
            type="bam_mm.BAMProjector", in_channels=16, hid_channels=24, out_channels=12, norm=True,
            act_cfg=dict(type="ReLU"),
        )
    ).neck  # fmt: skip
    kinds = [type(m) for m in plain.layers]
    assert kinds == [nn.Linear, nn.GELU, nn.Linear, nn.GELU, nn.Linear]
    assert all(m.bias is not None for m in plain.layers if isinstance(m, nn.Linear))
    norms = [m for m in normed.layers if isinstance(m, nn.BatchNorm1d)]
    assert [m.affine for m in norms] == [True, True, False]
    assert all(m.bias is None for m in normed.layers if isinstance(m, nn.Linear))
    assert sum(p.numel() for p in plain.parameters()) == 16 * 24 + 24 + 24 * 24 + 24 + 24 * 12 + 12
    maps = torch.randn(3, 16, 5, 5)
    torch.testing.assert_close(plain(maps), plain((maps.mean(dim=(2, 3)),)))


def test_wrong_input():
    model = build()
    with pytest.raises(InputError, match="a batch of 1 image"):
        model.loss(views(batch=1))
    with pytest.raises(InputError, match="teacher_views='local'"):
        build(teacher_views="local")
    with pytest.raises(InputError, match="branch 'mean'"):
        model.branch("mean")


def test_targets_from_views_that_the_teacher_does_not_see():
    head = dict(type="bam_mm.BAMHead", target_views="all")
    words = (
        r"model\.head\.target_views='all' with model\.teacher_views='global': .* the 2 local views "
        r".*; set model\.teacher_views='all', or model\.head\.target_views='global'"
    )
    with pytest.raises(InputError, match=words):
        build(head=head)
    two_views = dict(layout=dict(LAYOUT, num_local=0))
    two_views["data_preprocessor"] = dict(type="bam_mm.MultiViewPreprocessor", **two_views)
    assert build(head=head, **two_views).loss(views()[:2])["loss"].isfinite()


def test_warning_of_a_target_that_is_not_sharper(monkeypatch):
    logged = []
    monkeypatch.setattr(
        "bam_mm.models.head.print_log", lambda text, **kw: logged.append((text, kw))
    )
    build(head=dict(type="bam_mm.BAMHead", temperature=0.1, target_temperature=0.1))
    [(text, options)] = logged
    assert options["level"] == 30
    assert "target_temperature=0.1 is not below temperature=0.1" in text
    assert "collapse" in text and "=0.05" in text
    build()
    assert len(logged) == 1
