"""Many linear probes in one training: each head is the probe that is trained alone."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import CosineAnnealingLR, OptimWrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample

from bam_mm.errors import InputError
from bam_mm.hooks.check_finite import CheckFiniteHook
from bam_mm.models import ManyLinearProbes
from bam_mm.models.probe_features import ProbeFeature
from bam_mm.optim import ManyLinearProbesConstructor
from bam_mm.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS

VIT = dict(
    type="mmpretrain.MoCoV3ViT",
    arch=dict(embed_dims=32, num_layers=4, num_heads=2, feedforward_channels=64),
    img_size=16,
    patch_size=8,
)
HEAD = dict(
    type="mmpretrain.LinearClsHead",
    num_classes=3,
    loss=dict(type="mmpretrain.CrossEntropyLoss"),
    init_cfg=dict(type="Normal", layer="Linear", std=0.01),
)
NORM = dict(type="mmpretrain.ClsBatchNormNeck", affine=False, eps=1e-6)
GRID = dict(
    features=["cls", "mean", "cls4", "cls+mean"],
    learning_rates=[0.03, 0.5],
    weight_decays=[0.0, 0.01],
)
SGD = dict(type="SGD", lr=1.0, momentum=0.9)
LARS = dict(type="bam_mm.LARS", lr=1.0, momentum=0.9, eta=0.1)
STEPS = 6


def many(seed=0, **settings):
    init_default_scope("mmpretrain")
    torch.manual_seed(seed)
    settings = {**GRID, "in_channels": 32, **settings}
    model = MODELS.build(dict(type="bam_mm.ManyLinearProbes", backbone=VIT, head=HEAD, **settings))
    model.init_weights()
    return model


def single(setting, backbone, neck=None, seed=0):
    """Build a probe with one setting on its own, from the same seed, and load the backbone."""
    init_default_scope("mmpretrain")
    torch.manual_seed(seed)
    feature = setting.feature
    width = 32 * {"cls": 1, "mean": 1, "cls4": 4, "cls+mean": 2}[str(feature)]
    model = MODELS.build(
        dict(
            type="bam_mm.FrozenBackboneClassifier",
            backbone=VIT,
            head={**HEAD, "in_channels": width},
            feature=feature.feature,
            blocks=4 if str(feature) == "cls4" else 1,
            neck=neck and {**neck, "input_features": width},
        )
    )
    model.init_weights()
    model.backbone.load_state_dict(backbone.state_dict())
    return model


def batches():
    generator = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        images = torch.randn(6, 3, 16, 16, generator=generator)
        labels = torch.randint(3, (6,), generator=generator)
        yield images, [DataSample().set_gt_label(label) for label in labels]


def train(model, optimizer):
    """Train with a cosine schedule, and return the optimizer."""
    schedule = CosineAnnealingLR(optimizer, T_max=STEPS)
    for images, samples in batches():
        losses = model.train()(images, samples, mode="loss")
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        schedule.step()
    return optimizer


def grouped(model, optimizer):
    config = dict(type="bam_mm.ManyLinearProbesConstructor", paramwise_cfg=None)
    config["optim_wrapper_cfg"] = dict(type="OptimWrapper", optimizer=optimizer)
    return OPTIM_WRAPPER_CONSTRUCTORS.build(config)(model).optimizer


@pytest.mark.parametrize("neck", [None, NORM], ids=["plain", "batch norm"])
@pytest.mark.parametrize("kind", [SGD, LARS], ids=["sgd", "lars"])
def test_every_head_equals_the_probe_trained_alone(kind, neck):
    model = many(neck=neck)
    assert len(model.settings) == 16 and len(model.head.probes) == 16
    start = [probe.fc.weight.detach().clone() for probe in model.head.probes]
    train(model, grouped(model, kind))
    for number, setting in enumerate(model.settings):
        alone = single(setting, model.backbone, neck)
        assert torch.equal(alone.head.fc.weight, start[number])
        config = {**kind, "lr": setting.learning_rate, "weight_decay": setting.weight_decay}
        train(alone, OPTIMIZERS.build({**config, "params": alone.parameters()}))
        probe = model.head.probes[number]
        assert (probe.fc.weight - start[number]).abs().max() > 1e-4
        for name, own in alone.head.named_parameters():
            found = dict(probe.named_parameters())[name]
            torch.testing.assert_close(found, own, rtol=0, atol=1e-6)
        if neck:
            place = model.features.index(setting.feature)
            mean = model.head.necks[place].bn.running_mean
            torch.testing.assert_close(mean, alone.neck.bn.running_mean, rtol=0, atol=1e-6)


def test_heads_do_not_depend_on_the_others():
    wide = many()
    train(wide, grouped(wide, SGD))
    narrow = many(features=["cls4"], learning_rates=[0.5], weight_decays=[0.01])
    narrow.backbone.load_state_dict(wide.backbone.state_dict())
    train(narrow, grouped(narrow, SGD))
    number = [str(s) for s in wide.settings].index(str(narrow.settings[0]))
    assert torch.equal(wide.head.probes[number].fc.weight, narrow.head.probes[0].fc.weight)


def test_random_weights_are_those_of_the_first_feature_and_of_the_seed():
    model = many(seed=3)
    state = torch.get_rng_state()
    model.init_weights()
    assert torch.equal(state, torch.get_rng_state())
    # With the head of another width, the random backbone would be another one.
    fresh = many(seed=3, features=["cls"])
    for a, b in zip(model.backbone.parameters(), fresh.backbone.parameters(), strict=True):
        assert torch.equal(a, b)
    own = single(model.settings[0], model.backbone, seed=3)
    assert torch.equal(own.head.fc.weight, model.head.probes[0].fc.weight)
    assert not torch.equal(many(seed=4).head.probes[0].fc.weight, own.head.fc.weight)


def test_one_forward_pass_for_all_features_and_the_schedule_of_each_group():
    model = many()
    calls = []
    model.backbone.register_forward_hook(lambda *args: calls.append(1))
    optimizer = train(model, grouped(model, SGD))
    assert len(calls) == STEPS
    # A cosine from the head's own learning rate to 0 in STEPS steps.
    assert [g["initial_lr"] for g in optimizer.param_groups] == 4 * [0.03, 0.03, 0.5, 0.5]
    assert [g["weight_decay"] for g in optimizer.param_groups] == 8 * [0.0, 0.01]
    assert all(abs(g["lr"]) < 1e-8 for g in optimizer.param_groups)
    assert all(p.grad is None for p in model.backbone.parameters())


def test_loss_is_the_sum_of_mean_cross_entropies():
    model = many()
    images, samples = next(batches())
    losses = model(images, samples, mode="loss")
    labels = torch.cat([sample.gt_label for sample in samples])
    each = [
        torch.nn.functional.cross_entropy(scores, labels)
        for scores in model.head(model.extract_feat(images))
    ]
    assert losses["loss"].item() == pytest.approx(sum(each).item(), rel=1e-6)
    assert losses["heads_least"].item() == pytest.approx(min(each).item())
    mixed = [
        DataSample().set_gt_label(s.gt_label).set_gt_score(torch.eye(3)[s.gt_label[0]])
        for s in samples
    ]
    soft = model(images, mixed, mode="loss")["loss"]
    assert soft.item() == pytest.approx(losses["loss"].item(), rel=1e-5)


def test_mixed_precision_changes_nothing():
    model = many(neck=NORM)
    images, samples = next(batches())
    wanted = model(images, samples, mode="loss")["loss"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model(images, samples, mode="loss")["loss"], wanted)


def test_the_settings_that_diverged_are_named():
    model = many()
    images, samples = next(batches())
    assert model.remedy_if_not_finite() is None
    model(images, samples, mode="loss")
    assert model.remedy_if_not_finite() is None
    for number in (3, 7):
        model.head.probes[number].fc.bias.data.fill_(torch.nan)
    loss = model(images, samples, mode="loss")["loss"]
    hook = CheckFiniteHook()
    optim_wrapper = OptimWrapper(torch.optim.SGD(model.head.parameters(), lr=1.0))
    runner = SimpleNamespace(model=model, iter=6, max_iters=9, optim_wrapper=optim_wrapper)
    with pytest.raises(InputError) as raised:
        hook.after_train_iter(runner, 0, outputs={"loss": loss})
    text = str(raised.value)
    assert "iteration 7, learning rate 1: loss is nan: the loss of 2 of the 16 heads" in text
    assert "(cls, learning rate 0.5, weight decay 0.01), (mean, learning rate 0.5, " in text
    assert "remove these values from model.learning_rates" in text and "clip" not in text


def test_predictions_of_all_heads_and_the_scores_of_the_chosen_one():
    model = many().eval()
    for number, probe in enumerate(model.head.probes):
        probe.fc.bias.data.copy_(100 * torch.eye(3)[number % 3])
    images, samples = next(batches())
    found = model(images, samples, mode="predict")
    assert found[0].probe_labels.tolist() == [n % 3 for n in range(16)]
    assert "pred_score" not in found[0]
    model.chosen = 4
    found = model(images, mode="predict")
    assert len(found) == 6 and found[5].pred_label.item() == 1
    assert found[5].pred_score.sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    "name, kind, blocks, parts",
    [("cls", "cls", 1, 1), ("mean", "mean", 1, 1), ("cls4", "cls", 4, 4),
     ("cls4+mean", "cls+mean", 4, 5), ("cls1", "cls", 1, 1)],
)  # fmt: skip
def test_names_of_features(name, kind, blocks, parts):
    feature = ProbeFeature.of(name)
    assert (feature.feature, feature.blocks, feature.parts) == (kind, blocks, parts)
    assert str(feature) == name.replace("cls1", "cls")


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(features=[]), r"model.features=\[\] must be a list with at least one entry"),
        (dict(features=["cls0"]), "'cls0': choose among cls, mean"),
        (dict(features=["pooled"]), "'pooled': choose among"),
        (dict(features=["cls", "cls1"]), "names an entry twice"),
        (dict(learning_rates=[0.1, -1]), "learning_rates=.* must be numbers above 0"),
        (dict(learning_rates=[0.0]), "must be numbers above 0"),
        (dict(learning_rates=0.1), "must be a list"),
        (dict(learning_rates=[0.1, 0.1]), "names an entry twice"),
        (dict(learning_rates=["a"]), "must be numbers above 0"),
        (dict(learning_rates=[0.1, [0.2]]), "must be numbers above 0"),
        (dict(features=["cls", ["mean"]]), r"features has \['mean'\]: choose among cls, mean"),
        (dict(features=["cls99"]), "fewer than 99 blocks"),
        (dict(weight_decays=[-1e-4]), "weight_decays=.* must be numbers of at least 0"),
        (dict(weight_decays=[float("nan")]), "must be numbers of at least 0"),
        (dict(neck={**NORM, "affine": True}), "parameters that all heads"),
        (dict(neck="ClsBatchNormNeck"), "model.neck='ClsBatchNormNeck' must be a dict"),
    ],
    ids=str,
)
def test_wrong_settings(settings, message):
    with pytest.raises(InputError, match=message):
        many(**settings)


def test_wrong_width():
    with pytest.raises(InputError, match=r"32 wide, its heads take 64: .*model\.in_channels=32"):
        many(in_channels=64).extract_feat(torch.randn(1, 3, 16, 16))


@pytest.mark.parametrize(
    "wrapper, paramwise, message",
    [
        (dict(clip_grad=dict(max_norm=1)), None, "clip_grad=.*depend on the others"),
        (dict(optimizer={**SGD, "weight_decay": 0.1}), None, "weight_decay=0.1: each head"),
        (dict(optimizer=dict(type="SGD")), None, "has no lr"),
        (dict(), dict(custom_keys={}, bias_lr_mult=2.0), "paramwise_cfg"),
        (dict(type="bam_mm.AmpOptimWrapper"), None, "scales the loss .*dtype=bfloat16"),
        (dict(type="bam_mm.AmpOptimWrapper", dtype="float16"), None, "scales the loss"),
        (dict(type="mmengine.AmpOptimWrapper", dtype="bfloat16"), None, "scales the loss"),
        (
            dict(type="bam_mm.AmpOptimWrapper", dtype="bfloat16", loss_scale=8.0),
            None,
            "scales the loss",
        ),
    ],
)
def test_settings_that_heads_would_share(wrapper, paramwise, message):
    settings = {"type": "OptimWrapper", "optimizer": SGD, **wrapper}
    with pytest.raises(InputError, match=message):
        ManyLinearProbesConstructor(settings, paramwise)(many())


def test_another_model_has_no_groups():
    settings = dict(type="OptimWrapper", optimizer=SGD)
    with pytest.raises(InputError, match="Linear has no heads with settings"):
        ManyLinearProbesConstructor(settings)(torch.nn.Linear(2, 2))
    assert isinstance(many(), ManyLinearProbes)
