"""Pretraining methods on one backbone, and what is made of their times."""

import json

import pytest
import torch

from bam_mm import InputError
from bam_mm.report.sections import pretraining_cost as section
from bam_mm.suite import pretraining_cost
from bam_mm.suite.pretraining_cost import Question, compare, measure
from bam_mm.suite.pretraining_methods import METHODS, Views, build_method, make_views, step

VIEWS = Views(2, 48, 2, 24)
SHAPES = {
    "bam": [48, 48, 24, 24],
    "swav": [48, 48, 24, 24],
    "mae": [48],
    "simclr": [48, 48],
    "byol": [48, 48],
    "mocov3": [48, 48],
}


@pytest.mark.parametrize("method", METHODS)
def test_each_method_trains_the_same_backbone(method):
    torch.manual_seed(0)
    model = build_method(method, "vit-toy-p8", VIEWS).train()
    # Patches, 36 + 1 places, [CLS], four blocks 96 wide, the last norm.
    width, blocks = 96, 4
    block = 4 * width * width + 4 * width + 8 * width * width + 5 * width + 4 * width
    wanted = (3 * 64 + 1) * width + 37 * width + width + blocks * block + 2 * width
    assert sum(p.numel() for p in model.backbone.parameters()) == wanted
    inputs = make_views(method, VIEWS, 4, "cpu")
    inputs = [inputs] if method == "mae" else inputs
    assert [tuple(view.shape) for view in inputs] == [(4, 3, s, s) for s in SHAPES[method]]
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # Momentum encoders move with the step before.
        step(model, inputs[0] if method == "mae" else inputs, optimizer)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert any(name.startswith("backbone.layers.3") for name in moved)
    other = {"bam": "teacher.", "byol": "target_net.", "mocov3": "momentum_encoder."}.get(method)
    assert other is None or any(name.startswith(other) for name in moved)


def test_views_are_read():
    assert Views.of(["2x224", "6x96"]) == Views(2, 224, 6, 96)
    assert Views.of(["2x32"]).sides("bam") == [32, 32]
    for wrong in (["224"], ["1x224"], ["2x224", "6x96", "1x1"], ["2x0"], ["axb"], []):
        with pytest.raises(InputError, match="--crops"):
            Views.of(wrong)


def test_names_and_networks_that_do_not_go():
    with pytest.raises(InputError, match="--model dino: choose of bam, simclr"):
        build_method("dino", "vit-toy-p8", VIEWS)
    with pytest.raises(InputError, match="--backbone resnet51"):
        build_method("bam", "resnet51", VIEWS)
    with pytest.raises(InputError, match="mae masks the patches"):
        build_method("mae", "resnet18-w16", VIEWS)


def test_times_are_medians_and_a_fault_is_a_row(monkeypatch, tmp_path):
    times = {"bam": [[0.2, 0.4, 9.0], [0.2, 0.2, 0.2]], "simclr": [[0.1], [0.3]]}
    turns = []

    def ask(question):
        turns.append(question.method)
        if question.method == "mae":
            raise InputError("no patches")
        seconds = times[question.method][turns.count(question.method) - 1]
        peak = 10.0 * turns.count(question.method)
        return {"seconds": seconds, "peak_mb": peak, "device": "cpu", "parameters": 5}

    monkeypatch.setattr(pretraining_cost, "_ask", ask)
    asked = [Question(m, "resnet50", ("2x32",), 8, 3) for m in ("bam", "mae", "simclr")]
    bam, mae, simclr = compare(asked, rounds=2, say=lambda line: None)
    # All have their turn in each round; what failed is not tried again.
    assert turns == ["bam", "mae", "simclr", "bam", "simclr"]
    assert mae["message"] == "no patches" and "ms" not in mae
    assert bam["ms"] == pytest.approx(200) and bam["images_per_s"] == pytest.approx(40)
    assert bam["imagenet_hours"] == pytest.approx(1_281_167 / 40 / 3600)
    assert simclr["ms"] == pytest.approx(200) and simclr["times"] == pytest.approx(1)
    assert bam["peak_mb"] == 20

    assert section(tmp_path) == ""
    (tmp_path / "cost.json").write_text(json.dumps([bam, mae, simclr]))
    html = section(tmp_path)
    assert "2x32" in html and ">200<" in html and "simclr" in html and "no patches" not in html


def test_a_measurement_of_this_process():
    answer = measure(Question("simclr", "vit-toy-p8", ("2x48",), 2, 2, bfloat16=True))
    assert len(answer["seconds"]) == 2 and min(answer["seconds"]) > 0
    model = build_method("simclr", "vit-toy-p8", Views.of(["2x48"]))
    assert answer["parameters"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
