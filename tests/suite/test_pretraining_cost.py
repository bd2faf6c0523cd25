"""Pretraining methods on the same backbone, and the table of their costs."""

import json

import pytest
import torch

from bam_mm import InputError
from bam_mm.report.costs import pretraining_cost as cost_data
from bam_mm.suite import pretraining_cost
from bam_mm.suite.pretraining_cost import CostSettings, compare, measure
from bam_mm.suite.pretraining_methods import METHODS, Views, build_method, make_views, step

VIEWS = Views(2, 48, 2, 24)
SHAPES = {
    "bam": [48, 48, 24, 24],
    "swav": [48, 48, 24, 24],
    "mae": [48],
    "simclr": [48, 48],
    "byol": [48, 48],
    "mocov3": [48, 48],
    "dino": [48, 48, 24, 24],
    "nnclr": [48, 48],
    "relic": [48, 48],
}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_the_same_backbone(method):
    torch.manual_seed(0)
    model = build_method(method, "vit-toy-p8", VIEWS).train()
    # Patch projection, 36 + 1 positions, [CLS], four blocks of width 96, final norm.
    width, blocks = 96, 4
    block = 4 * width * width + 4 * width + 8 * width * width + 5 * width + 4 * width
    expected = (3 * 64 + 1) * width + 37 * width + width + blocks * block + 2 * width
    assert sum(p.numel() for p in model.backbone.parameters()) == expected
    inputs = make_views(method, VIEWS, 4, "cpu")
    inputs = [inputs] if method == "mae" else inputs
    assert [tuple(view.shape) for view in inputs] == [(4, 3, s, s) for s in SHAPES[method]]
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # Momentum encoders follow the previous step.
        step(model, inputs[0] if method == "mae" else inputs, optimizer)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("backbone.layers.3") for name in moved)
    teachers = {"byol": "target_net.", "mocov3": "momentum_encoder."}
    target = teachers.get(method, "teacher." if method in ("bam", "dino", "relic") else "backbone.")
    assert any(name.startswith(target) for name in moved)


def test_views_from_the_command_line():
    assert Views.of(["2x224", "6x96"]) == Views(2, 224, 6, 96)
    assert Views.of(["2x32"]).sides("bam") == [32, 32]
    for invalid in (["224"], ["1x224"], ["2x224", "6x96", "1x1"], ["2x0"], ["axb"], []):
        with pytest.raises(InputError, match="--crops"):
            Views.of(invalid)


def test_unknown_names_and_unsupported_backbones():
    with pytest.raises(InputError, match="--model barlow: choose one of bam, simclr"):
        build_method("barlow", "vit-toy-p8", VIEWS)
    with pytest.raises(InputError, match="--backbone resnet51"):
        build_method("bam", "resnet51", VIEWS)
    with pytest.raises(InputError, match="mae masks the patches"):
        build_method("mae", "resnet18-w16", VIEWS)


def test_times_are_medians_and_a_failure_is_a_row(monkeypatch, tmp_path):
    times = {"bam": [[0.2, 0.4, 9.0], [0.2, 0.2, 0.2]], "simclr": [[0.1], [0.3]]}
    calls = []

    def measure_in_child(settings):
        calls.append(settings.method)
        if settings.method == "mae":
            raise InputError("no patches")
        seconds = times[settings.method][calls.count(settings.method) - 1]
        peak = 10.0 * calls.count(settings.method)
        return {"seconds": seconds, "peak_mb": peak, "device": "cpu", "parameters": 5}

    monkeypatch.setattr(pretraining_cost, "_measure_in_child", measure_in_child)
    settings = [CostSettings(m, "resnet50", ("2x32",), 8, 3) for m in ("bam", "mae", "simclr")]
    bam, mae, simclr = compare(settings, rounds=2, log=lambda line: None)
    # Each round measures all methods; a failed one is not tried again.
    assert calls == ["bam", "mae", "simclr", "bam", "simclr"]
    assert mae["message"] == "no patches" and "ms" not in mae
    assert bam["ms"] == pytest.approx(200) and bam["images_per_s"] == pytest.approx(40)
    assert bam["imagenet_hours"] == pytest.approx(1_281_167 / 40 / 3600)
    assert simclr["ms"] == pytest.approx(200) and simclr["times"] == pytest.approx(1)
    assert bam["peak_mb"] == 20

    assert cost_data(tmp_path) is None
    (tmp_path / "cost.json").write_text(json.dumps([bam, mae, simclr]))
    data = cost_data(tmp_path)
    assert "2x32" in data["about"]
    rows = [[cell["text"] for cell in row[:3]] for row in data["table"]["rows"]]
    assert rows == [["bam", "200", "1.00"], ["simclr", "200", "1.00"]]


def test_a_measurement_in_this_process():
    result = measure(CostSettings("simclr", "vit-toy-p8", ("2x48",), 2, 2, bfloat16=True))
    assert len(result["seconds"]) == 2 and min(result["seconds"]) > 0
    model = build_method("simclr", "vit-toy-p8", Views.of(["2x48"]))
    assert result["parameters"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
