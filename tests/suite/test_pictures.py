"""Pictures of the models on the images that a suite lists."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from bam_mm.suite.definitions import load_suite
from bam_mm.suite.models import read_models
from bam_mm.suite.pictures import draw_pictures, short_names
from bam_mm.suite.planning import Settings, plan


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


def test_a_name_has_as_few_folders_as_tell_it_from_others():
    paths = [Path(p) for p in ("d/a/x/0.png", "d/b/x/0.png", "d/b/1.png", "d/c/2.png", "d/c/2.jpg")]
    assert [*short_names(paths).values()] == ["a_x_0", "b_x_0", "1", "2.png", "2.jpg"]
