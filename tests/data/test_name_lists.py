"""Names of files are read and written with their bytes, also if they are not UTF-8."""

import json
import os

import cv2
import numpy as np
import pytest

from bam_mm.data import ImageFolder
from bam_mm.data.name_lists import read_names, write_names
from bam_mm.data.subsets import write_subset
from bam_mm.hooks.resumed_run import _digest_of_names
from bam_mm.protocols.feature_digests import images_digest, key_of

ODD = [b"caf\xe9.png", "ねこ 1 #%&'.png".encode(), b"a\xc2\x85b.png", b"\x80\x81.png"]


@pytest.fixture
def folder(tmp_path):
    """Two classes of four images with odd names."""
    content = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    for name in (b"train/one", b"train/zw\xf6lf"):
        place = os.path.join(os.fsencode(tmp_path), name)
        os.makedirs(place)
        for odd in ODD:
            with open(os.path.join(place, odd), "wb") as file:
                file.write(content)
    return tmp_path


@pytest.mark.parametrize("odd", ODD)
def test_names_survive_a_list(tmp_path, odd):
    names = [os.fsdecode(odd), "plain.png"]
    write_names(tmp_path / "list.txt", names)
    assert (tmp_path / "list.txt").read_bytes() == odd + b"\nplain.png\n"
    assert read_names(tmp_path / "list.txt") == names


@pytest.mark.parametrize(
    "content", [b"a.png\nb.png\n", b"\xef\xbb\xbfa.png\r\n\r\n b.png \r\n", b"a.png\nb.png"]
)
def test_lists_of_other_systems(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert read_names(tmp_path / "list.txt") == ["a.png", "b.png"]


def test_a_subset_of_odd_names(folder):
    path, count = write_subset(folder, percent=50)
    assert count == 4 and len(path.read_bytes().strip(b"\n").split(b"\n")) == 4
    subset = ImageFolder(data_root=str(folder), subset=str(path), pipeline=[])
    assert len(subset) == 4 and set(subset.get_gt_labels()) == {0, 1}
    assert all(os.path.isfile(subset.get_data_info(i)["img_path"]) for i in range(4))


def test_digests_and_json_of_odd_names(folder):
    dataset = ImageFolder(data_root=str(folder), pipeline=[])
    first = images_digest(dataset)
    assert _digest_of_names(dataset) == _digest_of_names(dataset)
    place = os.path.join(os.fsencode(folder), b"train/one/caf\xe9.png")
    os.rename(place, place.replace(b"\xe9", b"\xe8"))
    renamed = ImageFolder(data_root=str(folder), pipeline=[])
    assert images_digest(renamed) != first
    assert _digest_of_names(renamed) != _digest_of_names(dataset)
    name = os.fsdecode(place)
    assert json.loads(json.dumps({"path": name}))["path"] == name
    assert key_of({"path": name}) == key_of({"path": name})
