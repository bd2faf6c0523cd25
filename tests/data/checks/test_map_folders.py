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


@pytest.mark.parametrize("links", [{"images/x": ".", "images/y": "."},
                                   {"images/x/to_y": "../y", "images/y/to_x": "../x"}])  # fmt: skip
def test_links_in_a_circle_stop(links, check, tmp_path):
    """mmseg follows links; two of them in a circle double its images at every step."""
    check(["x.jpg"], ["x.png"])
    for link, target in links.items():
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to(target)
    with pytest.raises(InputError, match=r"images/x.* is a link to a folder that cont.*: delete"):
        check(["x.jpg"], ["x.png"])


def test_links_to_other_folders_are_followed(check, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/b.JPG").touch()
    check(["a.jpg"], ["a.png"])
    (tmp_path / "images/more").symlink_to("../store")
    with pytest.raises(InputError, match=r"1 images with a map in .*do not end in '\.jpg'"):
        check(["a.jpg"], ["a.png", "more/b.png"])
