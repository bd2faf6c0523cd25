"""What the page and the report tell of a task: the settings of its runs, data and classes."""

from dataclasses import replace

import numpy as np

from bam_mm.figures.predictions import read_classes, write_picture
from bam_mm.report import write_report
from bam_mm.report.data import report_data
from bam_mm.suite.records import read_records
from tests.report.made_records import made, write_suite
from tests.report.reading import EVIL, data_of, report


def test_the_text_of_a_task_has_the_settings_that_ran(tmp_path):
    made(tmp_path, "A", "knn", 0, {"knn_k20/top1": 1.0, "knn_k10/top1": 1.0})
    suite = write_suite(tmp_path)
    about = "votes of {test_cfg.k} neighbours, {train_cfg.max_epochs} epochs"
    suite = replace(suite, tasks=(replace(suite.tasks[0], about=about), *suite.tasks[1:]))
    text = "votes of 10, 20 neighbours, ? epochs"
    assert report_data(suite, read_records(tmp_path), tmp_path)["tasks"][0]["about"] == text
    write_report(suite, tmp_path)
    for name in ("index.html", "report.md"):
        assert f"{text}." in (tmp_path / "report" / name).read_text()


def test_the_page_answers_what_an_appendix_does(tmp_path):
    used = {"mean": 3 * [127.5], "std": 3 * [128], "source": "timm", "size": 96, "crop_fraction": 1}
    linear = {
        "train_cfg": {"max_epochs": 4}, "batch": 512, "auto_scale_lr": {"base_batch_size": 256},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1, "weight_decay": 0.0}},
    }  # fmt: skip
    loaders = {
        "test": {"images": 900, "batch": 64}, "train": {"images": 4000, "batch": 256},
        "val": {"images": 1000, "batch": 32},
    }  # fmt: skip
    facts = dict(loaders=loaders, size=[96, 96], precision="float32", preprocessing=used)
    facts |= dict(protocol=linear, options={"max_epochs": "4"})
    made(tmp_path, "A", "knn", 0, {"knn_k20/top1": 1.0}, **facts)
    assert data_of(tmp_path)["tasks"][0]["setup"] == {
        "input": "96 x 96 px, short side 96 px (bicubic), centre crop 96 px (1)",
        "normalisation": "mean (127.5, 127.5, 127.5), std (128, 128, 128), RGB",
        "data": "4,000 training images, 1,000 validation images, 900 test images",
        "batch": "512 in training, 32 and 64 in evaluation",
        "learning rate": "0.2 (0.1 for a batch of 256), SGD with weight decay 0.0",
        "length": "4 epochs",
        "precision of the frozen backbone": "float32",
        "options that differ from the suite": "max_epochs=4",
        "config": "configs/cls/vit-toy-p8_knn_toy.py",
    }  # fmt: skip
    # Another model is named where it differs.
    made(tmp_path, "B", "knn", 0, {"knn_k20/top1": 2.0}, **{**facts, "size": [32, 32]})
    setup = data_of(tmp_path)["tasks"][0]["setup"]
    assert setup["input"].startswith("A: 96 x 96 px, short") and "; B: 32 x 32" in setup["input"]
    assert setup["length"] == "4 epochs"
    _, files, _ = report(tmp_path)
    assert "<dt>length</dt><dd>4 epochs</dd>" in files["index.html"]
    assert "- length: 4 epochs" in files["report.md"] and "0123" not in files["index.html"]


def test_dense_tasks_name_videos_sizes_and_the_colours_of_their_classes(tmp_path):
    strip = tmp_path / "runs/00_dog.png"
    write_picture(np.zeros((4, 8, 3), np.uint8), strip, {EVIL: "#ff0000", "cat": "red;x:url(a)"})
    assert read_classes(strip)[EVIL] == "#ff0000"
    video = {"videos": 2, "names": ["bike", EVIL]}
    picture = dict(path="runs/00_dog.png", caption="a strip", name="00_dog")
    made(
        tmp_path, "A", "video", 0, {"davis/J&F": 0.5, "davis/error": 3.0}, options={},
        protocol={"model": {"short_side": 480}}, loaders={"test": video},
        pictures=[{**picture, "classes": read_classes(strip)}],
    )  # fmt: skip
    [task] = data_of(tmp_path)["tasks"]
    assert task["setup"] == {
        "input": "frames with a short side of 480 px",
        "data": "2 test videos",
        "videos": f"bike, {EVIL}",
        "options that differ from the suite": "none",
        "config": "configs/vos/vit-toy-p8_label-propagation_toy.py",
    }
    assert task["pictures"][0]["caption"] == "A, seed 0: a strip (00_dog)"
    assert task["pictures"][0]["classes"] == {EVIL: "#ff0000"}  # The other is no colour.
    page = report(tmp_path)[2]
    swatches = [given for tag, given in page.tags if given.get("class") == "swatch"]
    assert [given["style"] for given in swatches] == ["background:#ff0000"]
    steps = [{"type": "LoadImageFromFile"}, {"type": "Resize", "scale": [1333, 800]}]
    protocol = {"test_dataloader": {"dataset": {"pipeline": steps}}}
    metrics = {"davis/J&F": 0.5, "davis/error": 3.0}
    made(tmp_path, "A", "video", 0, metrics, protocol=protocol, size=[800, 1067])
    [task] = data_of(tmp_path)["tasks"]
    assert task["setup"]["input"] == "resized to 1333 x 800 px, the first: 1067 x 800 px"
