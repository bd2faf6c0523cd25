"""The collapse monitor in mmpretrain's algorithms, whose projections are outputs of their necks."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm import InputError
from bam_mm.hooks import CollapseMonitorHook
from bam_mm.hooks.collapse_monitor import CollapsedError
from bam_mm.registry import MODELS
from tests.models.test_bam import build as build_bam
from tests.models.test_bam import views as bam_views

pytestmark = pytest.mark.slow

RESNET = dict(type="ResNet", depth=18, stem_channels=8, base_channels=8, norm_cfg=dict(type="BN"))
NECK = dict(in_channels=64, hid_channels=16, out_channels=12, with_avg_pool=True)
PREDICTOR = dict(
    type="NonLinearNeck", in_channels=12, hid_channels=16, out_channels=12, with_avg_pool=False
)
CROSS_ENTROPY = dict(type="CrossEntropyLoss")
COSINE = dict(type="CosineSimilarityLoss")
SWAV_LOSS = dict(type="SwAVLoss", feat_dim=12, num_prototypes=10, num_crops=[2, 2], temperature=0.1)
ALGORITHMS = {
    "SimCLR": dict(
        backbone=RESNET,
        neck=dict(type="NonLinearNeck", **NECK),
        head=dict(type="ContrastiveHead", loss=CROSS_ENTROPY, temperature=0.5),
    ),
    "BYOL": dict(
        backbone=RESNET,
        neck=dict(type="NonLinearNeck", **NECK),
        head=dict(type="LatentPredictHead", loss=COSINE, predictor=PREDICTOR),
    ),
    "SwAV": dict(
        backbone=RESNET,
        neck=dict(type="SwAVNeck", **NECK),
        head=dict(type="SwAVHead", loss=SWAV_LOSS),
    ),
    "MoCoV3": dict(
        backbone=RESNET,
        neck=dict(type="NonLinearNeck", **NECK),
        head=dict(type="MoCoV3Head", predictor=PREDICTOR, loss=CROSS_ENTROPY),
    ),
}  # fmt: skip
VIT = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
MAE = dict(
    type="MAE",
    backbone=dict(type="MAEViT", arch=VIT, img_size=16, patch_size=8, mask_ratio=0.5),
    neck=dict(
        type="MAEPretrainDecoder", num_patches=4, patch_size=8, embed_dim=16, decoder_embed_dim=16,
        decoder_depth=1, decoder_num_heads=2,
    ),
    head=dict(
        type="MAEPretrainHead", patch_size=8,
        loss=dict(type="PixelReconstructionLoss", criterion="L2"),
    ),
)  # fmt: skip


def build(config):
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    return MODELS.build(copy.deepcopy(config))


def views(name, batch=6):
    sizes = (32, 32, 24, 24) if name == "SwAV" else (32, 32)
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(batch, 3, size, size, generator=generator) for size in sizes]


def monitored(hook, model, inputs, steps, wrap=lambda model: model):
    """Run iterations, and return the logged values of each."""
    logged = []
    hub = SimpleNamespace(update_scalar=lambda *pair: found.append(pair))
    runner = SimpleNamespace(model=wrap(model), message_hub=hub)
    for runner.iter in range(steps):
        found = []
        hook.before_train_iter(runner, runner.iter)
        model.loss(inputs, None)
        hook.after_train_iter(runner, runner.iter)
        logged.append(dict(found))
    return logged


def spread_of(rows):
    """Standard deviation over the rows, with loops."""
    rows = [row / max(row.norm().item(), 1e-12) for row in rows.double()]
    total = 0.0
    for column in zip(*rows, strict=True):
        mean = sum(float(value) for value in column) / len(column)
        total += (sum((float(value) - mean) ** 2 for value in column) / len(column)) ** 0.5
    return total / len(rows[0]) * len(rows[0]) ** 0.5


class Wrapper(nn.Module):
    """Stands for MMDistributedDataParallel, which has the model in ``module``."""

    def __init__(self, model):
        super().__init__()
        self.module = model


@pytest.mark.parametrize("wrap", [lambda model: model, Wrapper], ids=["plain", "wrapped"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_spread_is_that_of_the_outputs_of_the_neck(name, wrap):
    model = build(dict(type=name, **ALGORITHMS[name]))
    model.train()
    inputs = views(name)
    # The same batch through a copy, by hand: all views, but no momentum encoder.
    twin = copy.deepcopy(model)
    if name == "SwAV":
        rows = twin.neck([twin.backbone(torch.cat(part)) for part in (inputs[:2], inputs[2:])])
    elif name == "SimCLR":
        both = torch.stack(inputs, 1).flatten(0, 1)
        (rows,) = twin.neck(twin.backbone(both))
    else:
        rows = torch.cat([twin.neck(twin.backbone(view))[0] for view in inputs])
    assert rows.shape == (6 * len(inputs), 12)
    logged = monitored(CollapseMonitorHook(interval=1), model, inputs, 1, wrap)
    expected = spread_of(rows.detach())
    assert 0.05 < expected < 1
    assert logged == [{"train/feature_std": pytest.approx(expected, rel=1e-5)}]


def test_the_neck_has_a_hook_only_in_iterations_that_are_due():
    model = build(dict(type="SimCLR", **ALGORITHMS["SimCLR"]))
    hooks = []
    model.backbone.register_forward_hook(lambda *_: hooks.append(len(model.neck._forward_hooks)))
    logged = monitored(CollapseMonitorHook(interval=3), model, views("SimCLR"), 6)
    assert hooks == [0, 0, 1, 0, 0, 1] and not model.neck._forward_hooks
    assert [len(values) for values in logged] == [0, 0, 1, 0, 0, 1]


def test_a_collapsed_neck_stops_the_run_with_a_remedy_for_any_method():
    model = build(dict(type="SimCLR", **ALGORITHMS["SimCLR"]))
    model.neck.register_forward_hook(lambda module, inputs, output: (torch.ones_like(output[0]),))
    hook = CollapseMonitorHook(interval=1, warmup=0, patience=2)
    with pytest.raises(CollapsedError, match=r"iteration 2: .*Keep the settings of the method"):
        monitored(hook, model, views("SimCLR"), 3)


def test_bam_still_has_entropies_and_its_own_projections():
    model = build_bam()
    logged = monitored(CollapseMonitorHook(interval=2), model, bam_views(), 2)
    assert logged[0] == {} and not model.neck._forward_hooks
    assert logged[1]["train/feature_std"] == pytest.approx(spread_of(model.last_projection))
    assert {*logged[1]} == {
        f"train/{name}" for name in ("feature_std", "attention_entropy", "target_entropy")
    }


def test_a_decoder_of_patches_and_a_model_without_a_neck_stop_with_a_remedy():
    model = build(MAE)
    inputs = torch.randn(2, 3, 16, 16)
    remedy = "remove CollapseMonitorHook from custom_hooks"
    with pytest.raises(InputError, match=rf"of MAE returns a tensor \(2, 4, 192\), not.*{remedy}"):
        monitored(CollapseMonitorHook(interval=1), model, inputs, 1)
    assert not model.neck._forward_hooks
    model.neck = None
    with pytest.raises(InputError, match=rf"MAE has no projector \(model.neck\).*{remedy}"):
        monitored(CollapseMonitorHook(interval=1), model, inputs, 1)


def test_a_neck_that_is_not_called_stops():
    model = build(dict(type="SimCLR", **ALGORITHMS["SimCLR"]))
    model.loss = lambda inputs, samples: None
    with pytest.raises(InputError, match="SimCLR computed no projection in this iteration"):
        monitored(CollapseMonitorHook(interval=1), model, views("SimCLR"), 1)
