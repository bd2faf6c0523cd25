"""Lists of labelled images: writing and reading them in SimCLR's format."""

import numpy as np
import pytest
from PIL import Image

from bam_mm.data import ImageFolder
from bam_mm.data.subsets import write_subset
from bam_mm.errors import InputError

pytestmark = pytest.mark.slow


def make_folder(root, names, classes=("n01440764", "n01443537")):
    for wnid in classes:
        (root / "train" / wnid).mkdir(parents=True)
        for number in range(40):
            path = root / "train" / wnid / names.format(wnid=wnid, number=number)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("imagenet"), "{wnid}_{number}.JPEG")


def test_the_list_is_in_simclrs_format_balanced_and_seeded(imagenet, tmp_path):
    path, number = write_subset(imagenet, percent=10, seed=3, out=tmp_path)
    lines = path.read_text().splitlines()
    assert path.name == "balanced_10percent_seed3.txt" and number == len(lines) == 8
    for wnid in ("n01440764", "n01443537"):
        assert sum(line.startswith(f"{wnid}_") and line.endswith(".JPEG") for line in lines) == 4
    again, _ = write_subset(imagenet, percent=10, seed=3, out=tmp_path / "again")
    assert again.read_text() == path.read_text()
    other, _ = write_subset(imagenet, percent=10, seed=4, out=tmp_path)
    assert other.read_text() != path.read_text()


def test_simclrs_lists_are_read_unchanged(imagenet, tmp_path):
    wanted = ["n01443537_7.JPEG", "n01440764_10.JPEG", "n01440764_3.JPEG"]
    (tmp_path / "1percent.txt").write_text("\n".join(wanted) + "\n")
    dataset = ImageFolder(str(imagenet), split="train", subset=str(tmp_path / "1percent.txt"))
    found = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert {f["img_path"].rsplit("/", 1)[1]: f["gt_label"] for f in found} == {
        "n01440764_10.JPEG": 0, "n01440764_3.JPEG": 0, "n01443537_7.JPEG": 1,
    }  # fmt: skip
    assert len(dataset.CLASSES) == 2


def test_a_written_list_is_found_in_the_data_folder(tmp_path):
    # The images' names do not contain their class, so the list includes the folder.
    root = make_folder(tmp_path, "{number:05d}.png", classes=("cat", "dog", "owl"))
    path, number = write_subset(root, percent=5)
    assert path == root / "subsets" / "balanced_5percent_seed0.txt"
    dataset = ImageFolder(str(root), split="train", subset="subsets/balanced_5percent_seed0.txt")
    assert len(dataset) == number == 6
    assert np.bincount(dataset.get_gt_labels()).tolist() == [2, 2, 2]
    (tmp_path / "bare.txt").write_text("00001.png\n")
    with pytest.raises(InputError, match="more than one class has an image of that name"):
        ImageFolder(str(root), split="train", subset="bare.txt")


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "names no image"),
        ("n01440764_1.JPEG\nn01440764_99.JPEG\n", "1 of the 2 images in .* are not in .*_99"),
        ("n01440764_1.JPEG\nn01440764/n01440764_1.JPEG\n", "n01440764_1.JPEG more than once"),
        ("n01440764_1.JPEG\n", "leaves 1 class without an image, the first: n01443537"),
    ],
)
def test_a_wrong_list_is_reported(imagenet, tmp_path, text, message):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        ImageFolder(str(imagenet), split="train", subset=str(tmp_path / "list.txt"))


def test_a_missing_list_is_reported_with_its_source(imagenet):
    message = r"subsets/1percent.txt does not exist: download SimCLR's"
    with pytest.raises(InputError, match=message) as error:
        ImageFolder(str(imagenet), split="train", subset="subsets/1percent.txt")
    assert f"bam-mm subset {imagenet} --percent 1" in str(error.value)
