"""A trained head on data with other class folders, with weights of which the accuracy is known.

All pixels of an image have one value, and the head takes the class of the nearest value.
"""

import json
from argparse import Namespace
from itertools import count

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from PIL import Image

from bam_mm.errors import InputError
from bam_mm.launch.testing import test as run_test
from bam_mm.registry import MODELS

NUMBER = count()
VALUES = range(10, 250, 20)
WNIDS = [f"n{value:08d}" for value in VALUES]
WORDS = ["ant", "bee", "cow", "dog", "eel", "fly", "gnu", "hen", "ibis", "jay", "kiwi", "lion"]


@MODELS.register_module(name="MeanValue", force=True)
class MeanValue(BaseModule):
    def forward(self, inputs):
        return (inputs.mean(dim=(1, 2, 3))[:, None],)


def folder(root, images):
    """Write an image of each value into the class folder of its name."""
    for number, (name, value) in enumerate(images):
        (root / name).mkdir(parents=True, exist_ok=True)
        pixels = np.full((4, 4, 3), value, np.uint8)
        Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def checkpoint(path, classes, **meta):
    # -(x - v)^2 = 2 v x - v^2 - x^2, of which the last term is the same for all classes. A small
    # factor keeps all probabilities above 0.
    values = torch.tensor(list(VALUES), dtype=torch.float32)[: len(classes or VALUES)]
    state = {"head.fc.weight": 2e-3 * values[:, None], "head.fc.bias": -1e-3 * values**2}
    if classes is not None:
        meta["dataset_meta"] = {"classes": tuple(classes)}
    torch.save({"meta": meta, "state_dict": state}, path)
    return path


def evaluate(tmp_path, data, saved, *, outputs=12, loop=None, metric=None, out=None, **dataset):
    MMLogger._instance_dict.clear()  # An earlier logger writes to a closed stream.
    loader = dict(
        batch_size=16, num_workers=0, sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=dict(
            type="bam_mm.ImageFolder", data_root=str(data), split=".", **dataset,
            pipeline=[dict(type="bam_mm.LoadImage"), dict(type="PackInputs")],
        ),
    )  # fmt: skip
    config = Config(
        dict(
            default_scope="mmpretrain", custom_imports=dict(imports=["bam_mm"]),
            experiment_name=f"run{next(NUMBER)}", log_level="INFO",
            model=dict(
                type="ImageClassifier", backbone=dict(type="bam_mm.MeanValue"),
                head=dict(type="LinearClsHead", num_classes=outputs, in_channels=1),
            ),
            test_dataloader=loader,
            test_evaluator=metric or dict(type="Accuracy", topk=(1, 5)),
            test_cfg=dict(loop or {}),  # The type is that of mmpretrain's own configs: none.
        )
    )  # fmt: skip
    args = Namespace(
        config="tiny.py", checkpoint=str(saved), work_dir=str(tmp_path / "w"), launcher="none",
        out=out, cfg_options=None,
    )  # fmt: skip
    return run_test(config, args)


@pytest.fixture(autouse=True)
def unformatted_dumps(monkeypatch):
    monkeypatch.setattr(Config, "pretty_text", "")


@pytest.fixture
def trained(tmp_path):
    return checkpoint(tmp_path / "x.pth", WNIDS)


def test_the_same_classes(tmp_path, trained):
    metrics = evaluate(tmp_path, folder(tmp_path / "d", zip(WNIDS, VALUES, strict=True)), trained)
    assert metrics == {"accuracy/top1": 100, "accuracy/top5": 100}


def test_a_confusion_matrix(tmp_path):
    saved = checkpoint(tmp_path / "x.pth", "abc")
    data = folder(tmp_path / "d", zip("aabc", (10, 49, 30, 50), strict=True))
    metric, out = dict(type="ConfusionMatrix"), str(tmp_path / "m.json")
    evaluate(tmp_path, data, saved, outputs=3, metric=metric, out=out)
    matrix = json.loads((tmp_path / "m.json").read_text())["confusion_matrix/result"]
    assert matrix == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]


def test_numbers_as_in_imagenet_v2(tmp_path, trained, capfd):
    numbers = list(map(str, range(12)))
    metrics = evaluate(tmp_path, folder(tmp_path / "d", zip(numbers, VALUES, strict=True)), trained)
    assert metrics["accuracy/top1"] == 100
    out = "".join(capfd.readouterr())
    assert out.count("are read as numbers of the outputs") == 1
    # Folders in the order of text: only 0 and 1 would be right.
    by_order = evaluate(tmp_path, tmp_path / "d", trained, loop=dict(classes="order"))
    assert by_order["accuracy/top1"] == pytest.approx(100 * 2 / 12)


def test_a_subset_as_imagenet_a(tmp_path, trained):
    # Classes 2, 5 and 8 (values 50, 110, 170); two images are nearer to other classes of the head.
    images = [(WNIDS[2], 50), (WNIDS[5], 110), (WNIDS[5], 135), (WNIDS[8], 170), (WNIDS[8], 145)]
    data = folder(tmp_path / "d", images)
    with pytest.raises(InputError, match=r"has 3 of the 12 classes of checkpoint .*x\.pth, and not "
                                         r"n00000010, .*test_cfg\.classes=subset"):  # fmt: skip
        evaluate(tmp_path, data, trained)
    every = evaluate(tmp_path, data, trained, loop=dict(classes="all"))
    counts = {"classes/in_data": 3, "classes/compared": 12, "classes/known": 12}
    assert every["accuracy/top1"] == pytest.approx(60) and every["accuracy/top5"] == 100
    assert {key: every[key] for key in counts} == counts
    part = evaluate(tmp_path, data, trained, loop=dict(classes="subset"))
    # 135 is nearest to 110 of the three; 145 is nearer to 170 than to 110.
    assert part == {"accuracy/top1": 100, **counts, "classes/compared": 3}


def test_a_renamed_class(tmp_path):
    saved = checkpoint(tmp_path / "x.pth", WORDS)
    renamed = ["zebu" if word == "bee" else word for word in WORDS]
    data = folder(tmp_path / "d", zip(renamed, VALUES, strict=True))
    with pytest.raises(InputError, match=r"1 of the 12 .*: zebu \(only there: bee\); rename"):
        evaluate(tmp_path, data, saved)
    # The names of the sorted folders, of which zebu is the last one.
    names = [*(word for word in WORDS if word != "bee"), "bee"]
    assert evaluate(tmp_path, data, saved, classes=names)["accuracy/top1"] == 100


def test_another_order_of_the_same_names(tmp_path, capfd):
    saved = checkpoint(tmp_path / "x.pth", WORDS[::-1])
    data = folder(tmp_path / "d", zip(WORDS[::-1], VALUES, strict=True))
    assert evaluate(tmp_path, data, saved)["accuracy/top1"] == 100
    assert "12 of the 12 classes" in "".join(capfd.readouterr())


def test_an_additional_class(tmp_path):
    saved = checkpoint(tmp_path / "x.pth", WORDS)
    data = folder(tmp_path / "d", [*zip(WORDS, VALUES, strict=True), ("aardvark", 250)])
    with pytest.raises(InputError, match=r"1 of the 13 .*: aardvark; .*dataset\.classes"):
        evaluate(tmp_path, data, saved)
    assert evaluate(tmp_path, data, saved, classes=WORDS)["accuracy/top1"] == 100
    (tmp_path / "names.txt").write_text("\n".join(WORDS) + "\n")
    named = evaluate(tmp_path, data, saved, classes=str(tmp_path / "names.txt"))
    assert named["accuracy/top1"] == 100
    with pytest.raises(InputError, match=r"classes=subset: set .*test_cfg\.classes=subset"):
        evaluate(tmp_path, data, saved, classes="subset")
    with pytest.raises(InputError, match=r"classes=none\.txt: there is no such file"):
        evaluate(tmp_path, data, saved, classes="none.txt")


def test_a_checkpoint_without_names_is_reported_once(tmp_path, capfd):
    saved = checkpoint(tmp_path / "x.pth", None)
    data = folder(tmp_path / "d", zip(WORDS, VALUES, strict=True))
    assert evaluate(tmp_path, data, saved)["accuracy/top1"] == 100
    out = "".join(capfd.readouterr())
    assert out.count("has no class names: whether its labels are those of the data") == 1
    with pytest.raises(InputError, match=r"test_cfg\.classes='some': choose one of subset, all"):
        evaluate(tmp_path, data, saved, loop=dict(classes="some"))


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_have_no_top5(classes, tmp_path, capfd):
    saved = checkpoint(tmp_path / "x.pth", WORDS[:classes])
    images = [*zip(WORDS[:classes], VALUES, strict=False), (WORDS[0], VALUES[1])]
    metrics = evaluate(tmp_path, folder(tmp_path / "d", images), saved, outputs=classes)
    assert metrics == {"accuracy/top1": pytest.approx(100 * classes / (classes + 1))}
    out = "".join(capfd.readouterr())
    assert out.count(f"{classes} classes: top-5 accuracy is left out") == 1
