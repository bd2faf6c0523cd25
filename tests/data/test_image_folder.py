"""Image folders: labels, splits, plain folders and faults."""

import os
import shutil

import pytest

from bam_mm import InputError
from bam_mm.data import ImageFolder
from bam_mm.data.toy import CLASS_NAMES, make_world


@pytest.fixture
def world(tmp_path):
    make_world(tmp_path / "w", scale=0.01)
    return tmp_path / "w/images"


def test_labels_follow_the_sorted_class_folders(world):
    data = ImageFolder(str(world), split="val")
    assert tuple(data.CLASSES) == tuple(sorted(CLASS_NAMES))
    for i in range(len(data)):
        info = data.get_data_info(i)
        assert data.CLASSES[info["gt_label"]] in info["img_path"]


def test_labels_follow_the_classes_that_are_named(tmp_path):
    for name in ("crow", "duck", "owl"):
        (tmp_path / "val" / name).mkdir(parents=True)
        (tmp_path / "val" / name / "1.png").touch()
    data = ImageFolder(str(tmp_path), split="val", classes=["owl", "crow"])
    labels = {data.get_data_info(i)["img_path"].split("/")[-2]: i for i in range(len(data))}
    assert {name: data.get_gt_labels()[i] for name, i in labels.items()} == {"owl": 0, "crow": 1}
    assert data.CLASSES == ("owl", "crow") and data.folder_to_idx == {"owl": 0, "crow": 1}
    # A folder that holds the class folders itself, as those of ImageNet-V2.
    assert len(ImageFolder(str(tmp_path / "val"), split=".").CLASSES) == 3
    with pytest.raises(InputError, match=r"or set dataset\.split=\. if it holds the class folders"):
        ImageFolder(str(tmp_path / "val"), split="val")


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfowl\r\n\r\ncr\xe4w\r\n", b" owl\ncr\xe4w"],
    ids=["byte-order mark", "Latin-1"],
)
def test_a_list_of_classes_is_read_as_bytes(content, tmp_path):
    for name in (b"cr\xe4w", b"owl"):
        folder = os.path.join(os.fsencode(tmp_path), b"val", name)
        os.makedirs(folder)
        open(os.path.join(folder, b"1.png"), "wb").close()
    (tmp_path / "classes.txt").write_bytes(content)
    data = ImageFolder(str(tmp_path), split="val", classes=str(tmp_path / "classes.txt"))
    assert data.folder_to_idx == {"owl": 0, os.fsdecode(b"cr\xe4w"): 1}


def test_numbers_as_classes_are_names_of_folders(tmp_path):
    for number in range(12):
        (tmp_path / "val" / str(number)).mkdir(parents=True)
        (tmp_path / "val" / str(number) / "1.png").touch()
    data = ImageFolder(str(tmp_path), split="val", classes=list(range(12)))
    assert data.folder_to_idx == {str(number): number for number in range(12)}
    with pytest.raises(InputError, match=r"dataset\.classes=x{300}: there is no such file"):
        ImageFolder(str(tmp_path), split="val", classes="x" * 300)


def test_a_plain_folder_is_read_completely_and_without_labels(world, tmp_path):
    plain = tmp_path / "photos"
    plain.mkdir()
    for number, path in enumerate(sorted((world / "val").rglob("*.jpg"))[:5]):
        shutil.copy(path, plain / f"{number}.jpg")
    data = ImageFolder(str(plain), split="train", fallback=True)
    assert len(data) == 5 and "gt_label" not in data.get_data_info(0)
    with pytest.raises(InputError, match="no subfolder 'train'"):
        ImageFolder(str(plain), split="train")


def test_class_folders_without_splits_keep_their_labels(world):
    data = ImageFolder(str(world / "val"), split="train", fallback=True)
    assert len(data.CLASSES) == len(CLASS_NAMES)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match=r"nowhere does not exist.*data_root=FOLDER"):
        ImageFolder(str(tmp_path / "nowhere"))


def test_a_missing_split_is_not_replaced_if_the_other_exists(world):
    shutil.rmtree(world / "train")
    with pytest.raises(InputError, match=r"no subfolder 'train' \(it has: val\)"):
        ImageFolder(str(world), split="train", fallback=True)


def test_an_empty_class_is_reported(world):
    for path in (world / "val" / CLASS_NAMES[2]).iterdir():
        path.unlink()
    with pytest.raises(InputError, match=f"without an image: {CLASS_NAMES[2]}; fill or delete"):
        ImageFolder(str(world), split="val")


def test_a_folder_without_images(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train/notes.txt").write_text("x")
    with pytest.raises(InputError, match="has no images"):
        ImageFolder(str(tmp_path))
