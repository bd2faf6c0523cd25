"""Which changes of the images lead to another cache file, and how many files are looked at."""

import os
from collections import Counter

import numpy as np
import pytest
from mmengine.dataset import BaseDataset

from bam_mm import ImageFolder
from bam_mm.protocols import feature_digests
from bam_mm.protocols.feature_digests import CHECKED_FILES, images_digest

FOLDERS, EACH = 3, 6


@pytest.fixture(params=[CHECKED_FILES, 4], ids=["small", "large"])
def root(request, tmp_path, monkeypatch):
    """Folder of 18 images, in a data set of which all or only four files are looked at."""
    monkeypatch.setattr(feature_digests, "CHECKED_FILES", request.param)
    write(tmp_path, FOLDERS, EACH)
    return tmp_path


def write(root, folders, each):
    for number in range(folders * each):
        path = root / f"train/c{number // each:03d}/{number % each:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
        # Folders and files that are changed now get another time than those of the fixture.
        os.utime(path, ns=(10**18, 10**18))
    for folder in (root / "train").iterdir():
        os.utime(folder, ns=(10**18, 10**18))


def digest(root):
    return images_digest(ImageFolder(str(root), split="train", with_label=True))


def one(root, number=7):
    return sorted((root / "train").rglob("*.jpg"))[number]


def add(root):
    (root / "train/c001/new.jpg").write_bytes(b"12345")


def remove(root):
    one(root).unlink()


def rename(root):
    one(root).rename(one(root).with_name("zzz.jpg"))


def rename_a_class(root):
    (root / "train/c001").rename(root / "train/c9")


def move_to_another_class(root):
    one(root).rename(root / "train/c002/moved.jpg")


def replace(root):
    """Save another picture of the same size and time under the same name."""
    other = root / "other"
    other.write_bytes(b"abcde")
    os.utime(other, ns=(10**18, 10**18))
    other.replace(one(root))


def swap_two_files(root):
    first, second = one(root, 7), one(root, 8)
    first.rename(root / "other")
    second.rename(first)
    (root / "other").rename(second)


def overwrite_all_in_place(root):
    for number in range(FOLDERS * EACH):
        one(root, number).write_bytes(b"abcde")


def touch_a_folder(root):
    os.utime(root / "train/c002", ns=(10**18, 10**18 + 1))


@pytest.mark.parametrize(
    "change",
    [
        add, remove, rename, rename_a_class, move_to_another_class, replace, swap_two_files,
        overwrite_all_in_place, touch_a_folder,
    ],
)  # fmt: skip
def test_changes_that_are_noticed_whatever_the_number_of_images(root, change):
    before = digest(root)
    assert digest(root) == before
    change(root)
    assert digest(root) != before


def overwrite(path):
    path.write_bytes(b"abcde")


def lengthen(path):
    path.write_bytes(b"123456")
    os.utime(path, ns=(10**18, 10**18))


def touch(path):
    os.utime(path, ns=(10**18, 10**18 + 1))


@pytest.mark.parametrize("change", [overwrite, lengthen, touch])
def test_files_that_are_changed_in_place_are_noticed_if_they_are_checked(root, change):
    dataset = ImageFolder(str(root), split="train", with_label=True)
    noticed = set()
    for number in range(FOLDERS * EACH):
        before = images_digest(dataset)
        change(one(root, number))
        if images_digest(dataset) != before:
            noticed.add(number)
    checked = feature_digests.CHECKED_FILES
    assert noticed == ({0, 4, 9, 13} if checked == 4 else set(range(FOLDERS * EACH)))


def test_few_files_of_a_large_data_set_are_looked_at(tmp_path, monkeypatch):
    write(tmp_path, folders=5, each=500)
    dataset = ImageFolder(str(tmp_path), split="train", with_label=True)
    stat, seen = os.stat, Counter()

    def counted(path, *args, **kwargs):
        seen[str(path)] += 1
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", counted)
    images_digest(dataset)
    monkeypatch.undo()
    folders = {str(path) for path in (tmp_path / "train").iterdir()}
    assert max(seen.values()) == 1 and folders < seen.keys()
    files = sorted(seen.keys() - folders)
    assert len(files) == CHECKED_FILES
    # At even intervals, so as many of each class.
    assert set(Counter(os.path.dirname(path) for path in files).values()) == {CHECKED_FILES // 5}


class InMemory(BaseDataset):
    """Images that are arrays in memory."""

    def load_data_list(self):
        return [dict(img=image, gt_label=number % 2) for number, image in enumerate(self.images)]


def test_every_pixel_of_images_in_memory_counts(monkeypatch):
    monkeypatch.setattr(feature_digests, "CHECKED_FILES", 2)

    def of(images):
        dataset = InMemory(lazy_init=True, metainfo=dict(classes=("a", "b")))
        dataset.images = images
        dataset.full_init()
        return images_digest(dataset)

    images = np.zeros((5, 4, 4, 3), np.uint8)
    digests = {of(images)}
    for number in range(5):
        changed = images.copy()
        changed[number, 1, 2, 0] = 1
        digests.add(of(changed))
    assert len(digests) == 6 and of(images) in digests


def test_missing_files_are_left_to_the_loading(root):
    dataset = ImageFolder(str(root), split="train", with_label=True)
    before = images_digest(dataset)
    for path in (root / "train").rglob("*.jpg"):
        path.unlink()
    assert images_digest(dataset) != before
