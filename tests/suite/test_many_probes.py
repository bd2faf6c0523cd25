"""Many linear probes as a task: fitted to any backbone, with curves and the choice on the page."""

import json

import pytest
import torch
from mmengine.registry import init_default_scope

from bam_mm.checkpoint import BackboneSource
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import find_config
from bam_mm.registry import MODELS
from bam_mm.report.data import report_data
from bam_mm.report.setup import task_setup
from bam_mm.suite.definitions import load_suite
from bam_mm.suite.fitting import fit
from bam_mm.suite.harvest import chosen_setting, curves
from bam_mm.suite.models import Model
from bam_mm.suite.protocol import protocol_of
from tests.report.made_records import made

CONFIG = find_config("cls/vit-toy-p8_1xb64-linear-many-coslr-4e_toy")
SUITE = load_suite("toy")
[TASK] = SUITE.choose(["linear-many"])
ROWS = [
    {"feature": feature, "learning_rate": rate, "val_top1": score}
    for feature, rate, score in (("cls", 0.1, 50.0), ("cls", 1.0, 60.0), ("mean", 0.1, 40.0))
]


@pytest.mark.parametrize(
    "backbone, features, width",
    [
        (dict(type="mmpretrain.ResNet", depth=18), ["mean"], 512),
        (
            dict(
                type="mmpretrain.MoCoV3ViT", img_size=48, patch_size=8,
                arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64),
            ),
            ["cls", "mean", "cls2"],
            32,
        ),
        (
            dict(
                type="mmpretrain.TIMMBackbone", model_name="vit_tiny_patch16_224", img_size=48,
                depth=5,
            ),
            ["cls", "mean", "cls4"],
            192,
        ),
    ],
    ids=["resnet", "two blocks", "timm"],
)  # fmt: skip
def test_fitted_to_the_features_and_width_of_a_backbone(backbone, features, width):
    config = load_config(CONFIG)
    fit(config, Model("A", "A", BackboneSource("random:x", "random", backbone, None), ""))
    assert (config.model.features, config.model.in_channels) == (features, width)
    init_default_scope("mmpretrain")
    model = MODELS.build(config.model)
    logits = model(torch.randn(2, 3, 48, 48))
    assert len(logits) == 12 * len(features) and logits[0].shape == (2, 9)


def test_a_line_for_each_feature_in_the_chart_of_each_model(tmp_path):
    (tmp_path / "run/probes").mkdir(parents=True)
    (tmp_path / "run/probes/curve.json").write_text(json.dumps(ROWS))
    found = curves(TASK, tmp_path / "run")
    assert [(c["line"], c["x"], c["y"]) for c in found] == [
        ("cls", [0.1, 1.0], [[50.0, 60.0]]),
        ("mean", [0.1], [[40.0]]),
    ]
    for name in "AB":
        made(tmp_path, name, "linear-many", 0, {"accuracy/top1": 50.0}, curves=found)
    records = [
        json.loads(path.read_text()) for path in sorted((tmp_path / "records").rglob("*.json"))
    ]
    [task] = report_data(SUITE, records, tmp_path)["tasks"]
    first, second = task["charts"]
    assert first["y_label"] == "A: validation top-1 (%)" and first["log"]
    assert second["y_label"] == "B: validation top-1 (%)" and second["x_label"] == "learning rate"
    assert first["series"] == {"cls": [[0.1, 50.0], [1.0, 60.0]], "mean": [[0.1, 40.0]]}


def test_the_choice_is_told_and_is_no_score(tmp_path):
    (tmp_path / "probes").mkdir()
    assert chosen_setting(tmp_path) == {}
    choice = {"feature": "cls4", "learning_rate": 0.3, "weight_decay": 1e-4, "val_top1": 61.25}
    (tmp_path / "probes/chosen.json").write_text(json.dumps(choice))
    protocol = protocol_of(load_config(CONFIG), batch=128)
    record = made(
        tmp_path, "A", "linear-many", 0, {"accuracy/top1": 50.0}, protocol=protocol,
        chosen=chosen_setting(tmp_path),
    )  # fmt: skip
    setup = task_setup(TASK, [record])
    assert setup["chosen by validation"] == "feature cls4, learning rate 0.3, weight decay 0.0001"
    assert setup["learning rate"] == (
        "the best of 6 from 0.006 to 2 (0.003 to 1 for a batch of 64), SGD with momentum 0.9"
    )
    assert {metric.key for metric in TASK.metrics if metric.main} == {"accuracy/top1"}
    assert not any("learning_rate" in metric.key for metric in TASK.metrics)
