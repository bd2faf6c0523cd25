"""Many linear probes with the tools: equal to single runs, exact resume, choice by validation."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from bam_mm.checkpoint import read_checkpoint
from bam_mm.data.toy import make_world
from bam_mm.protocols.unit_scores import read_units
from bam_mm.registry import DATASETS, MODELS
from tests.end_to_end.running import one_message
from tests.end_to_end.test_exact_resume import differences

ROOT = Path(__file__).resolve().parents[2]
MANY = ROOT / "configs/cls/vit-toy-p8_1xb64-linear-many-coslr-4e_toy.py"
SINGLE = ROOT / "configs/cls/vit-toy-p8_1xb64-linear-coslr-10e_toy.py"
QUICK = [
    "train_dataloader.batch_size=16",
    *(f"{part}_dataloader.num_workers=0" for part in ("train", "val", "test")),
    "max_epochs=2",
    "param_scheduler.0.T_max=2",
    "param_scheduler.0.end=2",
    "train_cfg.val_interval=2",
    "default_hooks.logger.interval=1",
]
GRID = ["model.features=[cls4,mean]", "model.learning_rates=[0.03,0.3]",
        "model.weight_decays=[0,0.01]"]  # fmt: skip
NO_WORKERS = "test_cfg.val.num_workers=0"


@pytest.fixture(autouse=True)
def unformatted_dumps(monkeypatch):
    """mmengine formats each config four times for its log, which takes a second per run."""
    monkeypatch.setattr(Config, "pretty_text", property(_plain_text))


def _plain_text(config):
    # The split of the training is read from the config in the checkpoint.
    return "".join(f"{key} = {value!r}\n" for key, value in config.to_dict().items())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    make_world(out, scale=0.02)
    return out / "images"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("backbone") / "vit.pth"
    init_default_scope("mmpretrain")
    torch.manual_seed(1)
    backbone = MODELS.build(Config.fromfile(MANY).model.backbone)
    backbone.init_weights()
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in backbone.state_dict().items()}}, path)
    return path


def test_heads_equal_single_runs_resume_exactly_and_are_chosen(world, checkpoint, tool, tmp_path):
    options = [f"data_root={world}", f"checkpoint={checkpoint}", *QUICK]
    many = [*options, *GRID, NO_WORKERS]
    code, text, _ = tool("train.py", MANY, "--work-dir", tmp_path / "many", options=many)
    assert code == 0, text[-2000:]
    assert "are bit-equal to those before training" in text and "in 8 groups" in text
    saved = read_checkpoint(tmp_path / "many/epoch_2.pth")
    alone = [
        (2, 0.3, 0.0, "cls", 4, 384),
        (7, 0.3, 0.01, "mean", 1, 96),
    ]
    for number, rate, decay, feature, blocks, width in alone:
        settings = [
            f"lr={rate}", f"optim_wrapper.optimizer.weight_decay={decay}", "model.neck=None",
            f"model.feature={feature}", f"model.blocks={blocks}", f"model.head.in_channels={width}",
            "train_dataloader.dataset.part=train",
        ]  # fmt: skip
        work = tmp_path / f"single{number}"
        code, text, _ = tool("train.py", SINGLE, "--work-dir", work, options=options + settings)
        assert code == 0, text[-2000:]
        wanted = read_checkpoint(work / "epoch_2.pth")["state_dict"]
        for name in ("fc.weight", "fc.bias"):
            found = saved["state_dict"][f"head.probes.{number}.{name}"]
            torch.testing.assert_close(found, wanted[f"head.{name}"], rtol=0, atol=1e-6)

    code, text, _ = tool(
        "train.py", MANY, "--work-dir", tmp_path / "again", "--resume",
        tmp_path / "many/epoch_1.pth", options=many,
    )  # fmt: skip
    assert code == 0 and "resumed epoch: 1" in text, text[-2000:]
    again = read_checkpoint(tmp_path / "again/epoch_2.pth")
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert differences(saved[part], again[part]) == []

    out = tmp_path / "metrics.json"
    code, text, _ = tool(
        "test.py", MANY, tmp_path / "many/epoch_2.pth", "--work-dir", tmp_path / "t", "--out", out,
        options=many,
    )  # fmt: skip
    assert code == 0, text[-2000:]
    metrics = json.loads(out.read_text())
    with (tmp_path / "t/probes/settings.csv").open() as file:
        rows = [
            {k: v if k == "feature" else float(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]
    assert len(rows) == 8 and [row["feature"] for row in rows] == 4 * ["cls4"] + 4 * ["mean"]
    best = max(rows, key=lambda row: row["val_top1"])
    assert metrics["probes/val_top1"] == best["val_top1"]
    assert metrics["accuracy/top1"] == pytest.approx(best["test_top1"], abs=1e-4)
    assert metrics["probes/learning_rate"] == best["learning_rate"]
    assert metrics["probes/weight_decay"] == best["weight_decay"]
    assert metrics["probes/feature"] == 1 + ["cls4", "mean"].index(best["feature"])
    assert metrics["probes/learning_rate_at_end"] == 1 and "try a wider range" in text
    chosen = json.loads((tmp_path / "t/probes/chosen.json").read_text())
    assert chosen == {key: value for key, value in best.items() if key != "test_top1"}
    curve = json.loads((tmp_path / "t/probes/curve.json").read_text())
    assert [(row["feature"], row["learning_rate"]) for row in curve] == [
        ("cls4", 0.03), ("cls4", 0.3), ("mean", 0.03), ("mean", 0.3)
    ]  # fmt: skip
    for row in curve:
        same = [r for r in rows if all(r[k] == row[k] for k in ("feature", "learning_rate"))]
        assert len(same) == 2 and row["val_top1"] == max(r["val_top1"] for r in same)
    units = read_units(tmp_path / "t/units.npz")
    assert units.scores["accuracy/top1"].value == pytest.approx(metrics["accuracy/top1"], abs=1e-4)

    # Other validation images would be among those of the training.
    result = tool(
        "test.py", MANY, tmp_path / "many/epoch_2.pth", "--work-dir", tmp_path / "t",
        options=[*many, "test_cfg.val.dataset.split=val", "test_cfg.val.dataset.part=None"],
    )  # fmt: skip
    one_message(result, "20 of the validation images are test images", "held out from the training")
    for setting, words in {
        "split_seed=1": ("dataset.split_seed=1", "split_seed=0", "of the training"),
        "part=train": ("dataset.part='train'", "trained on these images", "'val'"),
        "part=None": ("dataset.part=None", str(world / "train"), "set part=val"),
    }.items():
        result = tool(
            "test.py", MANY, tmp_path / "many/epoch_2.pth", "--work-dir", tmp_path / "t",
            options=[*many, f"test_cfg.val.dataset.{setting}"],
        )  # fmt: skip
        one_message(result, *words)
    recorded = saved["meta"]["cfg"]
    assert recorded.count("'part': 'train'") == 1
    saved["meta"]["cfg"] = recorded.replace("'part': 'train'", "'part': 'train', 'subset': 'few'")
    torch.save(saved, tmp_path / "few.pth")
    result = tool("test.py", MANY, tmp_path / "few.pth", "--work-dir", tmp_path / "t", options=many)
    one_message(result, "dataset.subset=None", "train_dataloader.dataset.subset='few'")
    del saved["meta"]["cfg"]
    torch.save(saved, tmp_path / "unknown.pth")
    code, text, _ = tool(
        "test.py", MANY, tmp_path / "unknown.pth", "--work-dir", tmp_path / "t", options=many
    )
    assert code == 0 and "not recorded in the checkpoint, so it is not known" in text, text[-2000:]


@pytest.fixture
def unequal(tmp_path):
    """Two classes: the first has most training images, the second most test images."""
    for split, counts in (("train", (30, 10)), ("val", (3, 7))):
        for name, count in zip("ab", counts, strict=True):
            (tmp_path / f"data/{split}/{name}").mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (48, 48), (number, 0, 0))
                image.save(tmp_path / f"data/{split}/{name}/{number}.png")
    return tmp_path / "data"


def test_choice_by_validation_where_the_test_images_prefer_another_head(unequal, tool, tmp_path):
    options = [f"data_root={unequal}", "num_classes=2", "checkpoint=random", *QUICK, NO_WORKERS]
    options += ["max_epochs=1", "train_dataloader.batch_size=4"]
    options += ["model.features=[cls]", "model.learning_rates=[0.1,0.2]", "model.weight_decays=[0]"]
    code, text, _ = tool("train.py", MANY, "--work-dir", tmp_path / "w", options=options)
    assert code == 0, text[-2000:]
    content = read_checkpoint(tmp_path / "w/epoch_1.pth")
    # The first head says b, as most test images are; the second a, as most validation images are.
    for number, bias in enumerate(([-1000.0, 1000.0], [1000.0, -1000.0])):
        content["state_dict"][f"head.probes.{number}.fc.bias"].copy_(torch.tensor(bias))
    torch.save(content, tmp_path / "w/edited.pth")
    out = tmp_path / "metrics.json"
    code, text, _ = tool(
        "test.py", MANY, tmp_path / "w/edited.pth", "--work-dir", tmp_path / "t", "--out", out,
        options=options,
    )  # fmt: skip
    assert code == 0, text[-2000:]
    metrics = json.loads(out.read_text())
    assert metrics["probes/learning_rate"] == 0.2 and metrics["probes/val_top1"] == 75
    assert metrics["accuracy/top1"] == 30
    rows = json.loads((tmp_path / "t/probes/settings.json").read_text())
    assert [(row["val_top1"], row["test_top1"]) for row in rows] == [(25, 70), (75, 30)]


def test_parts_of_the_training_images(unequal):
    def images(**settings):
        init_default_scope("mmpretrain")
        config = dict(type="bam_mm.ImageFolder", data_root=str(unequal), **settings)
        dataset = DATASETS.build(config)
        found = [dataset.get_data_info(number) for number in range(len(dataset))]
        return {(f["img_path"], int(f["gt_label"])) for f in found}

    both = images()
    parts = {part: images(part=part, val_fraction=0.2) for part in ("train", "val")}
    assert parts["train"] | parts["val"] == both and not parts["train"] & parts["val"]
    assert sorted(label for _, label in parts["val"]) == 6 * [0] + 2 * [1]
    assert images(part="val", val_fraction=0.2) == parts["val"]
    assert images(part="val", val_fraction=0.2, split_seed=1) != parts["val"]
    # One image of each class at least.
    assert len(images(part="val", val_fraction=0.01)) == 2


@pytest.mark.parametrize(
    "setting, words",
    [
        ("model.features=[]", ("model.features=[] must be a list with at least one",)),
        ("model.features=[cls,pooled]", ("'pooled'", "choose among cls, mean")),
        ("model.learning_rates=[0.1,-0.1]", ("model.learning_rates=", "numbers above 0")),
        ("model.weight_decays=[]", ("model.weight_decays=[]", "at least one")),
        ("optim_wrapper.clip_grad.max_norm=1", ("clip_grad", "depend on the others")),
        ("train_dataloader.dataset.part=rest", ("dataset.part='rest'", "choose 'val'")),
        ("train_dataloader.dataset.val_fraction=1.5", ("val_fraction=1.5", "below 1")),
        ("model.in_channels=95", ("96 wide", "model.in_channels=96")),
    ],
)
def test_wrong_settings_are_one_message(unequal, tool, tmp_path, setting, words):
    options = [f"data_root={unequal}", "num_classes=2", "checkpoint=random", *QUICK, setting]
    result = tool("train.py", MANY, "--work-dir", tmp_path / "w", options=options)
    one_message(result, *words)


def untrained(config, path):
    """Save a model with two classes, and return the path."""
    init_default_scope("mmpretrain")
    model = Config.fromfile(config).model
    model.head.num_classes = 2
    torch.save({"state_dict": MODELS.build(model).state_dict()}, path)
    return path


def test_other_models_and_too_few_images(unequal, tool, tmp_path):
    options = [f"data_root={unequal}", "num_classes=2", *QUICK]
    result = tool(
        "test.py", SINGLE, untrained(SINGLE, tmp_path / "one.pth"), "--work-dir", tmp_path / "w",
        options=[*options, "test_cfg.type=bam_mm.ManyLinearProbesLoop", NO_WORKERS],
    )  # fmt: skip
    one_message(result, "test_cfg.type=ManyLinearProbesLoop", "Classifier has no heads to choose")
    more = shutil.copytree(unequal, tmp_path / "more")
    shutil.copytree(more / "train/b", more / "train/c")
    result = tool(
        "test.py", MANY, untrained(MANY, tmp_path / "many.pth"), "--work-dir", tmp_path / "w",
        options=[*options, f"test_cfg.val.dataset.data_root={more}"],
    )  # fmt: skip
    one_message(result, "the validation images have 3 classes, the heads 2", "held out from")
    lone = tmp_path / "lone"
    shutil.copytree(unequal, lone)
    for path in sorted((lone / "train/b").iterdir())[1:]:
        path.unlink()
    result = tool(
        "train.py", MANY, "--work-dir", tmp_path / "w",
        options=[f"data_root={lone}", "checkpoint=random", *options[1:]],
    )  # fmt: skip
    one_message(result, "all images of class b are held out", "add images")
