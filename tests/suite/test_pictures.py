"""Pictures of the models on the images that a suite lists."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from bam_mm.registry import MODELS
from bam_mm.suite.definitions import FOLDER, load_suite
from bam_mm.suite.models import read_models
from bam_mm.suite.pictures import draw_pictures, short_names
from bam_mm.suite.planning import Settings, plan
from bam_mm.suite.records import write_json
from bam_mm.variables.entries import plain
from tests.suite.test_methods import MASKED


def test_images_of_one_name_in_two_folders_are_two_pictures(tmp_path):
    for name, shade in (("cat/0000.jpg", 30), ("dog/0000.jpg", 200), ("dog/0001.jpg", 90)):
        path = tmp_path / "toy/images/val" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 64, 3), shade, np.uint8)).save(path)
    folder = "toy/images/val"
    looks = (f"{folder}/cat/*.jpg", f"{folder}/dog/*.jpg", f"{folder}/dog/0001.*")
    suite = replace(load_suite("toy"), look=looks, look_size=48)
    settings = Settings(tmp_path / "work", data=tmp_path)
    models = read_models(["r=random:vit-toy-p8"])
    runs = plan(suite, suite.choose(["knn"]), models, [0], settings)
    written = draw_pictures(runs, log=print)
    assert [path.name for path in written] == [
        "attention_r_cat_0000.png", "attention_r_dog_0000.png", "attention_r_0001.png"
    ]  # fmt: skip
    cat, dog, _ = (np.asarray(Image.open(path).convert("L"), np.int64) for path in written)
    assert np.abs(cat - dog).max() > 100
    assert draw_pictures(runs, log=print) == []


def test_the_picture_of_a_method_is_drawn_again_for_new_weights(tmp_path):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "one.png")
    # A network that hides patches, whose checkpoint does not state what is evaluated.
    (tmp_path / "masked.py").write_text(MASKED.format(kind="MAEViT", more="mask_ratio=0.5"))
    method = f"dict(name='mae', config={str(tmp_path / 'masked.py')!r}, data=_base_.cifar10)"
    base = str(FOLDER.parent / "_base_/suites/cifar10_methods.py")
    (tmp_path / "own.py").write_text(
        f"_base_ = {base!r}\ntitle = about = 'x'\nlook = ['one.png']\nlook_size = 32\n"
        f"pretraining = [{method}]\ntasks = _base_.methods_tasks[:1]\n"
    )
    suite = load_suite(tmp_path / "own.py")
    runs = plan(suite, suite.tasks, [], [0], Settings(tmp_path, data=tmp_path), suite.methods)
    assert draw_pictures(runs, log=print) == []
    init_default_scope("mmpretrain")
    network = MODELS.build({**runs[0].config()[0].model.backbone, "type": "MAEViT"})
    path = tmp_path / "epoch_2.pth"
    torch.save({"state_dict": {f"backbone.{k}": v for k, v in network.state_dict().items()}}, path)
    model = plain(runs[0].model.facts())
    checkpoint = {"file": path.name, "sha256": "0"}
    write_json(runs[0].record, {"status": "done", "model": model, "checkpoint": checkpoint})
    messages = []
    [picture] = draw_pictures(runs, log=messages.append)
    assert picture.name == "attention_mae_one.png" and messages == []
    assert draw_pictures(runs, log=print) == []
    later = picture.stat().st_mtime + 10
    os.utime(path, (later, later))
    assert draw_pictures(runs, log=print) == [picture]


def test_a_name_has_as_few_folders_as_tell_it_from_others():
    paths = [Path(p) for p in ("d/a/x/0.png", "d/b/x/0.png", "d/b/1.png", "d/c/2.png", "d/c/2.jpg")]
    assert [*short_names(paths).values()] == ["a_x_0", "b_x_0", "1", "2.png", "2.jpg"]
