"""The deep check of a data set: every map and every image's size."""

import json

import numpy as np
import pytest

from bam_mm.cli import check_data
from bam_mm.data.checks.every_annotation import MOST, check_instance_sizes, check_maps
from tests.data.annotated import encoded, photograph, png

IDS = np.array([[0, 1, 2, 3]] * 6, np.uint8).repeat(2, axis=1)
BOXES = [dict(id=1, image_id=0, category_id=1, bbox=[1, 1, 2, 2])]


def write(root, name, image, map_):
    for path, data in ((f"images/training/{name}.jpg", image),
                       (f"annotations/training/{name}.png", map_)):  # fmt: skip
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def test_every_map_is_compared_with_its_image(tmp_path):
    write(tmp_path, "a", photograph(), encoded(IDS))
    write(tmp_path, "b", photograph(orientation=6), encoded(IDS))
    [finding] = check_maps(tmp_path, 3)
    assert finding.ok and finding.text.startswith("2 maps have the sizes of their images and label")
    assert "0 (unlabelled) covers 25.0% of the pixels; 1 belong to pixels as sto" in finding.text
    write(tmp_path, "c", photograph(), encoded(IDS[:3]))
    write(tmp_path, "d", photograph(), encoded(IDS + 1))
    write(tmp_path, "e", photograph(orientation=3), encoded(IDS))
    write(tmp_path, "f", photograph(), png(IDS.astype(np.uint16) + 300, 16))
    write(tmp_path, "g", photograph(), encoded(np.dstack([IDS, IDS, IDS + 1])))
    write(tmp_path, "h", photograph(), b"no image")
    found = check_maps(tmp_path, 3)
    assert not any(f.ok for f in found) and all(f.remedy for f in found)
    for finding, words in zip(found, ("c.jpg has 8x6 px, but its map", "d.png has label 4 in 12",
                                      "e.jpg has Exif orientation 3", "f.png has label 303 in 48",
                                      "g.png holds colours"), strict=True):  # fmt: skip
        assert words in finding.text


def test_many_faults_are_counted(tmp_path):
    for index in range(MOST + 3):
        write(tmp_path, f"{index:02d}", photograph(), encoded(IDS + 1))
    found = check_maps(tmp_path, 3)
    assert len(found) == MOST + 1 and found[-1].text == "3 more maps are faulty"


def test_every_size_of_an_instance_file(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "photos").mkdir()
    images = []
    for index, (orientation, size) in enumerate([(1, (6, 8)), (6, (6, 8)), (6, (8, 6)),
                                                 (3, (6, 8)), (1, (12, 16))]):  # fmt: skip
        name = f"{index}.jpg"
        (tmp_path / "photos" / name).write_bytes(photograph(orientation=orientation))
        images.append(dict(id=index, file_name=name, height=size[0], width=size[1]))
    path = tmp_path / "annotations/i.json"
    path.write_text(json.dumps(dict(images=images[:3], annotations=BOXES)))
    (tmp_path / "annotations/captions.json").write_text("[1")
    [finding] = check_instance_sizes(tmp_path)
    assert finding.ok and finding.text == f"sizes of 3 images of {path} are those of the files"
    path.write_text(json.dumps(dict(images=images, annotations=BOXES)))
    turned, resized = check_instance_sizes(tmp_path)
    assert not turned.ok and "3.jpg has Exif orientation 3" in turned.text
    assert not resized.ok and "4.jpg has 8x6 px" in resized.text and "16x12" in resized.text


@pytest.fixture
def splits(tmp_path):
    """Two splits whose images have the same name and other sizes, and captions of them."""
    for split, size in (("train", (6, 8)), ("val", (12, 10))):
        (tmp_path / split).mkdir()
        (tmp_path / split / "0001.jpg").write_bytes(photograph(size))
        image = dict(id=0, file_name="0001.jpg", height=size[0], width=size[1])
        content = dict(images=[image], annotations=BOXES, categories=[dict(id=1, name="a")])
        (tmp_path / f"instances_{split}.json").write_text(json.dumps(content))
    content = dict(images=[dict(image, height=1)], annotations=[dict(id=1, caption="a cat")])
    (tmp_path / "captions.json").write_text(json.dumps(content))
    return tmp_path


def test_equal_names_in_two_splits_belong_to_their_own_files(splits):
    found = check_instance_sizes(splits)
    assert all(finding.ok for finding in found)
    assert [finding.text.split()[5][-9:] for finding in found] == ["rain.json", "_val.json"]
    assert check_instance_sizes(splits / "instances_val.json") == found[1:]


@pytest.mark.parametrize("name", ["", "instances_val.json"])
def test_the_deep_check_of_your_own_instances_compares_sizes(name, splits, monkeypatch, capsys):
    (splits / "captions.json").unlink()
    (splits / "val/0001.jpg").write_bytes(photograph((6, 5)))
    monkeypatch.setattr("sys.argv", ["check-data", "instances", str(splits / name), "--deep"])
    assert check_data.main() == 1
    assert "val/0001.jpg has 5x6 px, but its entry in" in capsys.readouterr().out


def test_published_data_are_upright(tmp_path):
    """As at the start of a run, also if files are only a part of what was published."""
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017/000000000139.jpg").write_bytes(photograph(orientation=3))
    image = dict(id=0, file_name="000000000139.jpg", height=6, width=8)
    for name, fits in (("instances_val2017.json", True), ("instances_mine.json", False)):
        path = tmp_path / name
        path.write_text(json.dumps(dict(images=[image], annotations=BOXES)))
        [finding] = check_instance_sizes(path)
        assert finding.ok is fits
    write(tmp_path, "ADE_val_00000001", photograph(orientation=3), encoded(IDS))
    assert [finding.ok for finding in check_maps(tmp_path, 3)] == [True]
    write(tmp_path, "mine", photograph(orientation=3), encoded(IDS))
    assert [finding.ok for finding in check_maps(tmp_path, 3)] == [False]
