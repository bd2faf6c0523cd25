"""Folders of images and maps: no image is left out silently, and endings are found."""

import pytest

from bam_mm import InputError
from bam_mm.data.checks import map_folders
from bam_mm.data.checks.map_folders import check_endings


@pytest.fixture
def check(tmp_path):
    """A function that makes files and checks their folders."""

    def run(images, maps=(), endings=(".jpg", ".png"), same=False):
        folders = [tmp_path / "images", tmp_path / ("images" if same else "maps")]
        for folder, names in zip(folders, (images, maps), strict=True):
            folder.mkdir(exist_ok=True)
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True, parents=True)
                (folder / name).touch()
        check_endings(folders[0], folders[1] if maps else None, endings, "train")

    return run


@pytest.mark.parametrize(
    "images, maps, endings",
    [
        (["a.jpg", "b/c.jpg"], ["a.png", "b/c.png"], (".jpg", ".png")),
        (["a.tif"], ["a_ids.png"], (".tif", "_ids.png")),
        (["a.jpg", ".DS_Store", "._a.jpg", "notes.txt"], ["a.png"], (".jpg", ".png")),
        (["a.jpg"], [], (".jpg", ".png")),
        ([], [], (".jpg", ".png")),
        (["a.jpg"], ["b.png"], (".jpg", ".png")),  # A missing map is found elsewhere.
    ],
)
def test_folders_that_fit(images, maps, endings, check):
    check(images, maps, endings)


@pytest.mark.parametrize(
    "images, maps, message",
    [
        (["a.JPG", "b.JPG"], ["a.png"],
         r"no image in .*images ends in '\.jpg', it has 2 \.JPG: .*dataset\.img_suffix=\.JPG"),
        (["a.png", "b.tif", "c.png"], ["a.png"], r"it has 2 \.png, 1 \.tif: .*img_suffix=\.png"),
        (["a.jpg", "b.png", "c.JPEG", "d.tif"], ["a.png", "b.png", "c.png"],
         r"2 images with a map in .*images do not end in '\.jpg' \(1 \.\w+, 1 \.\w+\), so mmseg"),
        (["a.jpg"], ["a.tif"], r"no map in .* ends in '\.png' .*a\.tif.*seg_map_suffix=\.tif"),
        (["a.jpg"], ["a_labelIds.png"], r"seg_map_suffix=_labelIds\.png"),
        (["a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg"], ["a.png"],
         r"a-checkpoint\.jpg was put there by a system.*: delete .*\.ipynb_checkpoints \(1 such"),
    ],
)  # fmt: skip
def test_each_fault_has_its_own_message(images, maps, message, check):
    with pytest.raises(InputError, match=message):
        check(images, maps)


def test_images_without_a_map_are_counted(check, monkeypatch):
    found = []
    monkeypatch.setattr(map_folders, "print_log", lambda text, **_: found.append(text))
    check(["a.jpg", "overview.png", "b.webp", "Thumbs.db"], ["a.png"])
    [message] = found
    assert message.startswith("2 files in ") and "(1 .png, 1 .webp)" in message


def test_images_and_maps_in_one_folder(check):
    check(["a.jpg", "b.jpg"], ["a.png", "b.png"], same=True)
