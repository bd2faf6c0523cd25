"""Which files of a folder are images, in which order, and what is counted as left out."""

import os
import re
import shutil

import pytest

from bam_mm import InputError
from bam_mm.data import ImageFolder
from bam_mm.data.checks.folders import count, images_in
from bam_mm.data.checks.known import check_data
from bam_mm.data.image_files import find_class_folders, find_images, images_directly_in
from tests.data.image_kinds import FURTHER, SOUND

JPEG = SOUND["JPEG"]


def touch(root, *names, data=JPEG):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def logged(monkeypatch):
    """Messages of the data set, with their levels."""
    lines = []
    monkeypatch.setattr(
        "bam_mm.data.image_folder.print_log",
        lambda text, logger, level=20: lines.append((text, level)),
    )
    return lines


ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".pgm", ".bmp", ".tif", ".tiff",
           ".webp", ".gif")  # fmt: skip


@pytest.mark.parametrize("ending", [*ENDINGS, ".JPG", ".JPEG", ".Tiff", ".JFIF", ".GIF"])
def test_every_ending_is_read_in_both_cases(ending, tmp_path, logged):
    kinds = {".gif": "GIF", ".webp": "WebP", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP",
             ".png": "PNG", ".ppm": "PPM", ".pgm": "PGM of 16 bits"}  # fmt: skip
    data = {**SOUND, **FURTHER}[kinds.get(ending.lower(), "JPEG")]
    touch(tmp_path, f"train/a/x{ending}", data=data)
    found = ImageFolder(str(tmp_path), pipeline=[dict(type="bam_mm.LoadImage")])
    assert len(found) == 1 and found[0]["img"].shape == (16, 24, 3) and not logged


HIDDEN = (".DS_Store", "._1.jpg", "Thumbs.db", "thumbs.DB", ".hidden.png", "desktop.ini")
HIDDEN_FOLDERS = (".ipynb_checkpoints", "@eaDir", "__MACOSX", "@EADIR", ".git", "$RECYCLE.BIN")


@pytest.mark.parametrize("depth", ["", "a/", "a/deep/er/"], ids=["split", "class", "below"])
@pytest.mark.parametrize("name", [*HIDDEN, *(f"{f}/1-checkpoint.jpg" for f in HIDDEN_FOLDERS)])
def test_hidden_files_are_neither_classes_nor_images(name, depth, tmp_path, logged):
    touch(tmp_path, "train/a/1.jpg", "train/a/deep/er/2.jpg", "train/b/1.jpg")
    touch(tmp_path / "train" / depth, name)
    data = ImageFolder(str(tmp_path))
    assert data.CLASSES == ("a", "b") and data.get_gt_labels().tolist() == [0, 0, 1]
    text = f"{tmp_path}/train: 3 images; left out: 1 hidden"
    # Beside the class folders, a hidden file decides about nothing either.
    assert logged == [(text, 20)] and len(list(images_in(tmp_path))) == 3
    plain = ImageFolder(str(tmp_path / "train"), fallback=True, with_label=False)
    assert len(plain) == 3


def test_a_folder_of_hidden_images_is_no_class(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/b/._1.jpg")
    with pytest.raises(InputError, match=r"without an image: b; .*left out: 1 hidden"):
        ImageFolder(str(tmp_path))
    touch(tmp_path, "plain/train/.cache/1.jpg")
    with pytest.raises(InputError, match=r"has no images .*left out: 1 hidden"):
        ImageFolder(str(tmp_path / "plain"))


def test_the_place_of_the_data_may_be_hidden(tmp_path):
    touch(tmp_path, ".cache/data/train/a/1.jpg")
    assert len(ImageFolder(str(tmp_path / ".cache/data"))) == 1


def test_images_follow_the_characters_of_their_paths_whatever_the_file_system(
    tmp_path, monkeypatch
):
    names = ["a/10.jpg", "a/2.jpg", "a/B.jpg", "a/b.jpg", "a/sub/0.jpg", "a/sub.jpg", "a-b/1.jpg",
             "Z/1.jpg"]  # fmt: skip
    touch(tmp_path / "train", *names)
    listed = os.scandir

    class Reversed(list):
        __enter__ = __iter__ = lambda self: iter(self[::-1])
        __exit__ = lambda self, *_: None  # noqa: E731

    def scandir(folder):
        with listed(folder) as entries:
            return Reversed(entries)

    def paths():
        data = ImageFolder(str(tmp_path))
        found = [data.get_data_info(i)["img_path"] for i in range(len(data))]
        return [path.removeprefix(f"{tmp_path}/train/") for path in found]

    # The order of mmpretrain's CustomDataset: by class, then by the whole path below it.
    wanted = ["Z/1.jpg", "a/10.jpg", "a/2.jpg", "a/B.jpg", "a/b.jpg", "a/sub.jpg", "a/sub/0.jpg",
              "a-b/1.jpg"]  # fmt: skip
    assert sorted({name.split("/")[0] for name in names}) == ["Z", "a", "a-b"]
    assert paths() == wanted
    monkeypatch.setattr("bam_mm.data.image_files.os.scandir", scandir)
    assert paths() == wanted


def test_what_is_left_out_is_counted_by_its_ending(tmp_path, logged):
    touch(tmp_path / "train/a", "1.jpg", "1.txt", "2.HEIC", "3.heic", "README", "x.jpg.part")
    touch(tmp_path / "train/b", "1.jpg", "2.txt", "loop")
    ImageFolder(str(tmp_path))
    text = "2 images; left out: 2 without an ending, 2 .heic, 2 .txt, 1 .part"
    assert logged == [(f"{tmp_path}/train: {text}", 20)]
    touch(tmp_path / "train/c", *(f"{n}.cr2" for n in range(5)))
    with pytest.raises(InputError, match=r"without an image: c; fill .*left out: 5 \.cr2"):
        ImageFolder(str(tmp_path))


def test_loose_images_beside_class_folders(tmp_path, logged):
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/loose.JPG", "val/a/1.jpg")
    touch(tmp_path, "val/b/1.jpg")
    data = ImageFolder(str(tmp_path))
    assert len(data) == 3 and "gt_label" not in data.get_data_info(0)
    assert "holds images (1) beside folders (2)" in logged[0][0] and "no labels" in logged[0][0]
    data = ImageFolder(str(tmp_path), with_label=True)
    assert data.get_gt_labels().tolist() == [0, 1]
    assert logged[-1][0].endswith("2 images; left out: 1 image outside of the class folders")
    fault = check_data("folder", tmp_path)[0]
    assert not fault.ok and "1 image outside" in fault.text and "into one of them" in fault.remedy


def test_links_to_images_and_classes_are_followed(tmp_path):
    touch(tmp_path, "store/many/1.jpg", "store/many/2.jpg", "store/one.jpg", "train/a/1.jpg")
    (tmp_path / "train/b").symlink_to(tmp_path / "store/many")
    (tmp_path / "train/a/2.jpg").symlink_to("../../store/one.jpg")
    (tmp_path / "train/a/more").symlink_to(tmp_path / "store/many")
    data = ImageFolder(str(tmp_path))
    assert data.get_gt_labels().tolist() == [0] * 4 + [1] * 2
    shutil.move(tmp_path / "train", tmp_path / "elsewhere")
    (tmp_path / "train").symlink_to("elsewhere")
    (tmp_path / "train/b").unlink()
    (tmp_path / "train/b").symlink_to("a")
    assert len(ImageFolder(str(tmp_path))) == 8


@pytest.mark.parametrize(
    "place, target, words",
    [
        ("a/gone.jpg", "nowhere.jpg", r"1 dead link \(first: a/gone\.jpg\)"),
        ("a/self.jpg", "self.jpg", r"1 dead link \(first: a/self\.jpg\)"),
        ("a/more", "nowhere", r"1 dead link \(first: a/more\)"),
        ("a/up", ".", r"1 looped link \(first: a/up\)"),
        ("a/up", "..", r"1 looped link \(first: a/up\)"),
        ("a/up", "../../..", r"1 looped link \(first: a/up\)"),
        ("a/sub/up", "..", r"1 looped link \(first: a/sub/up\)"),
        ("gone.jpg", "nowhere.jpg", r"1 dead link \(first: gone\.jpg\)"),
    ],
)
def test_dead_and_looped_links_are_warned_of_and_faults_of_the_data(
    place, target, words, tmp_path, logged
):
    for split in ("train", "val"):
        touch(tmp_path / split, "a/1.jpg", "a/sub/2.jpg", "b/1.jpg")
    (tmp_path / "train" / place).symlink_to(target)
    assert ImageFolder(str(tmp_path)).get_gt_labels().tolist() == [0, 0, 1]
    [(text, level)] = logged
    assert level == 30 and re.search(words, text)
    [fault] = [finding for finding in check_data("folder", tmp_path) if not finding.ok]
    assert "link" in fault.text and fault.remedy == "correct or delete the links"


def test_links_in_a_circle_of_two_folders_end(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/x").symlink_to(tmp_path / "b")
    (tmp_path / "b/y").symlink_to(tmp_path / "a")
    images, left_out = find_images(tmp_path / "a")
    assert images == ["1.jpg", "x/2.jpg"] and left_out.loops == ["x/y"]


def test_folders_with_links_to_each_other(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/to_b").symlink_to("../b")
    (tmp_path / "b/to_a").symlink_to("../a")
    images, left_out = find_images(tmp_path)
    assert images == ["a/1.jpg", "a/to_b/2.jpg", "b/2.jpg", "b/to_a/1.jpg"]
    assert sorted(left_out.loops) == ["a/to_b/to_a", "b/to_a/to_b"]


@pytest.mark.parametrize("target, words", [("nowhere", "no place"), (".", "a folder that")])
def test_a_class_that_is_a_faulty_link_stops(target, words, tmp_path):
    touch(tmp_path, "train/a/1.jpg", "val/a/1.jpg")
    (tmp_path / "train/b").symlink_to(target)
    with pytest.raises(InputError, match=rf"train/b is a link to {words}.*a class might be miss"):
        ImageFolder(str(tmp_path))
    fault = next(f for f in check_data("folder", tmp_path) if not f.ok)
    assert "train/b is a link" in fault.text and "correct or delete it" in fault.remedy


def test_names_that_are_not_utf_8(tmp_path):
    folder = os.fsencode(tmp_path / "train/a")
    os.makedirs(folder)
    for name in (b"caf\xe9.jpg", "ねこ 1 #%&'.jpg".encode(), b"1.jpg"):
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(JPEG)
    data = ImageFolder(str(tmp_path), pipeline=[dict(type="bam_mm.LoadImage")])
    assert [data[i]["img_shape"] for i in range(len(data))] == [(16, 24)] * 3


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    touch(tmp_path, "a/1.jpg")

    def scandir(folder):
        raise PermissionError(13, "denied")

    monkeypatch.setattr("bam_mm.data.image_files.os.scandir", scandir)
    for search in (find_images, find_class_folders, images_directly_in):
        with pytest.raises(InputError, match=rf"{tmp_path} cannot be listed \(denied\)"):
            search(tmp_path)


def test_fixed_counts_of_known_data_leave_hidden_files_out(tmp_path):
    touch(tmp_path, "jpg/image_1.jpg", "jpg/._image_1.jpg")
    assert count("jpg/*.jpg", 1)(tmp_path).ok


@pytest.mark.parametrize("test_mode", [False, True])
def test_skipping_ends_where_no_image_is_left_or_all_are_needed(test_mode, tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", data=JPEG[:100])
    if test_mode:
        touch(tmp_path, "train/b/2.jpg")
    pipeline = [dict(type="bam_mm.LoadImage", on_error="skip")]
    data = ImageFolder(str(tmp_path), pipeline=pipeline, test_mode=test_mode, max_refetch=3)
    words = "an evaluation needs every image" if test_mode else "and 3 images drawn in its place"
    with pytest.raises(InputError, match=rf"a/1\.jpg .*{words}"):
        data[0]


def test_other_faults_of_a_pipeline_keep_their_type(tmp_path):
    touch(tmp_path, "train/a/1.jpg")
    data = ImageFolder(str(tmp_path), pipeline=[lambda results: results["nothing"]])
    with pytest.raises(KeyError):
        data[0]


def test_names_of_classes_must_be_as_many_as_folders(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg")
    data = ImageFolder(str(tmp_path), metainfo=dict(classes=("cat", "dog")))
    assert data.CLASSES == ("cat", "dog") and data.get_gt_labels().tolist() == [0, 1]
    with pytest.raises(InputError, match=r"names 3 classes|has 3 names"):
        ImageFolder(str(tmp_path), metainfo=dict(classes=("x", "y", "z")))
