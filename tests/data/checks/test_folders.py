"""Checks of data folders on small artificial trees: counts of missing files, and the remedy."""

import numpy as np
import pytest
from PIL import Image

from bam_mm.data.checks.folders import (
    KnownData,
    check_images,
    check_known,
    class_folders,
    count,
    file,
    images_in,
    listed,
)
from bam_mm.data.checks.known import KNOWN, check_data
from bam_mm.errors import InputError


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)


def faults(findings):
    return [f.text for f in findings if not f.ok]


def known(*checks):
    return KnownData("Tiny", "tiny.zip from example.com", (checks,))


def test_a_list_and_its_images(tmp_path):
    tiny = known(listed("list.txt", 3, "images/{}.jpg", lambda line: line.split()[0]))
    for name in ("a", "b"):
        image(tmp_path / f"images/{name}.jpg")
    (tmp_path / "list.txt").write_text("# a comment\na 1\nb 1\nc 2\n")
    [finding] = check_known(tiny, tmp_path)
    assert finding.text == f"2 of 3 images of {tmp_path}/list.txt (missing: images/c.jpg)"
    source = "tiny.zip from example.com"
    assert finding.remedy == f"download {source} and unpack everything into {tmp_path}"
    image(tmp_path / "images/c.jpg")
    assert not faults(check_known(tiny, tmp_path))
    (tmp_path / "list.txt").write_text("a 1\nb 1\n")
    assert faults(check_known(tiny, tmp_path)) == [f"{tmp_path}/list.txt names 2 of 3 images"]


def test_class_folders_by_count(tmp_path):
    tiny = known(class_folders("val", 2, 3))
    assert faults(check_known(tiny, tmp_path)) == [f"{tmp_path}/val is missing"]
    image(tmp_path / "val/loose.jpg")
    assert "loose images instead of a folder per class" in faults(check_known(tiny, tmp_path))[0]
    for name in ("a/1.jpg", "a/2.JPEG", "b/1.png"):
        image(tmp_path / "val" / name)
    assert not faults(check_known(tiny, tmp_path))
    (tmp_path / "val/b/1.png").unlink()
    assert faults(check_known(tiny, tmp_path)) == [
        f"2 of 2 class folders and 2 of 3 images in {tmp_path}/val; without an image: b"
    ]


def test_the_layout_with_the_fewest_faults_is_reported(tmp_path):
    two = KnownData("T", "t", ((count("x/*.jpg", 9), file("y")), (count("z/*.jpg", 2), file("w"))))
    image(tmp_path / "z/1.jpg")
    (tmp_path / "w").write_text("")
    assert faults(check_known(two, tmp_path)) == [f"1 of 2 images in {tmp_path}/z/*.jpg"]


def test_an_incomplete_data_set_of_known_size(tmp_path):
    (tmp_path / "annotations").mkdir()
    names = [f"Abyssinian_{n}" for n in range(3680)]
    (tmp_path / "annotations/trainval.txt").write_text("".join(f"{n} 1 1 1\n" for n in names))
    (tmp_path / "images").mkdir()
    for name in names[:2000]:
        (tmp_path / f"images/{name}.jpg").touch()
    first, second = faults(check_data("pets", tmp_path))
    assert first.startswith(f"2,000 of 3,680 images of {tmp_path}/annotations/trainval.txt")
    assert second == f"{tmp_path}/annotations/test.txt is missing"


def test_a_damaged_batch_of_cifar_is_never_unpickled(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py/data_batch_1").write_bytes(b"not the original pickle")
    found = faults(check_data("cifar10", tmp_path))
    assert "data_batch_1 is damaged (its MD5 is not c99cafc152244af753f735de768cd75f)" in found[0]
    assert len(found) == 6


def test_davis_needs_a_mask_for_every_frame(tmp_path):
    for split, number in (("train", 60), ("val", 30)):
        names = [f"{split}{n:02d}" for n in range(number)]
        (tmp_path / "ImageSets/2017").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"ImageSets/2017/{split}.txt").write_text("\n".join(names))
        for name in names:
            for kind, ending in (("JPEGImages", "jpg"), ("Annotations", "png")):
                folder = tmp_path / kind / "480p" / name
                folder.mkdir(parents=True)
                for t in range(3):
                    Image.new("L", (4, 4), 1).save(folder / f"0000{t}.{ending}")
                (folder / ".DS_Store").touch()
    assert not faults(check_data("davis2017", tmp_path))
    (tmp_path / "Annotations/480p/val07/00001.png").unlink()
    Image.new("L", (4, 5), 1).save(tmp_path / "Annotations/480p/val09/00002.png")
    [fault] = faults(check_data("davis2017", tmp_path))
    assert "28 of 30 sequences" in fault and "val07 (3 frames, 2 masks)" in fault
    assert "video val09: annotation" in fault and "00002.png is 4x5" in fault


def test_your_own_folders(tmp_path):
    assert "no folder train, val or test" in faults(check_data("folder", tmp_path))[0]
    for name in ("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg"):
        image(tmp_path / name)
    (tmp_path / "train/c").mkdir()
    found = faults(check_data("folder", tmp_path))
    assert found[0].endswith("without an image: c")
    assert found[1] == "classes of train and val: only in train: b, c"
    (tmp_path / "train/c").rmdir()
    image(tmp_path / "val/b/1.jpg")
    assert not faults(check_data("folder", tmp_path))


def test_every_image_is_decoded(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        image(tmp_path / name)
    paths = sorted(images_in(tmp_path))
    assert [f.text for f in check_images(paths)] == ["all 2 images can be read"]
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:100])
    [finding] = check_images(paths)
    assert "a.jpg is truncated (100 bytes" in finding.text and "replace the file" in finding.remedy


def test_zero_bytes_within_a_jpeg_are_damage_unless_they_are_a_flat_part(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    flat = np.full((2000, 2000), 255, np.uint8)
    flat[:16, :16] = noise[:16, :16, 0]
    for name, pixels, settings in (
        ("noise", noise, {}),
        ("flat", flat, dict(optimize=True)),
        ("progressive", flat, dict(progressive=True)),
    ):
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg", **settings)
    assert bytes(512) in (tmp_path / "flat.jpg").read_bytes()
    paths = sorted(tmp_path.iterdir())
    assert [f.text for f in check_images(paths)] == ["all 3 images can be read"]
    data = (tmp_path / "noise.jpg").read_bytes()
    third = len(data) // 3
    (tmp_path / "noise.jpg").write_bytes(data[:third] + bytes(third) + data[2 * third :])
    [finding] = check_images(paths)
    assert f"noise.jpg has zero bytes in place of a part of its pixels ({len(data)}" in finding.text


def test_an_unknown_name_lists_the_known_ones():
    message = r"'imagenot': choose one of imagenet, food101, .*, folder"
    with pytest.raises(InputError, match=message):
        check_data("imagenot", ".")
    assert {"imagenet", "food101", "cifar10", "cifar100", "cars", "aircraft", "pets"} < set(KNOWN)


def test_splits_of_other_names(tmp_path):
    for number, name in enumerate(["learn/wren", "learn/crow", "learn/crow", "check/wren"]):
        image(tmp_path / name / f"{number}.png")
    first, *others = check_data("folder", tmp_path)
    assert first.text.startswith(f"2 classes and 3 images in {tmp_path}/learn")
    assert faults(others) == ["classes of learn and check: only in learn: crow"]
    # Class folders without a split are none.
    [finding] = check_data("folder", tmp_path / "learn")
    assert "has no folder train, val or test" in finding.text
