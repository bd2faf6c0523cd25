"""Labels that do not fit the head: one message for each fault."""

import numpy as np
import pytest
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES

from bam_mm.data.checks.labels import check_labels, check_same_classes
from bam_mm.data.class_names import imagenet_folders
from bam_mm.errors import InputError


class Data:
    data_root = "somewhere"

    def __init__(self, labels, classes=None):
        self.labels, self.CLASSES = labels, classes

    def get_gt_labels(self):
        return np.array(self.labels)

    def get_data_info(self, index):
        return {"img_path": f"image{index}.jpg"}


def test_matching_labels_pass():
    check_labels(Data([0, 2, 1], ["a", "b", "c"]), 3, part="train")
    check_labels(Data([0, 2, 1]), 3, part="train")


@pytest.mark.parametrize(
    "data, message",
    [
        (Data([0, 1], ["a", "b"]), r"3 outputs, but the val data in somewhere has 2 classes"),
        (Data([0, 3, 1]), "1 label of the val data .* image1.jpg has label 3, but .* knows 0 to 2"),
        (Data([0, -1, 4]), "2 labels of .* image1.jpg has label -1"),
    ],
)
def test_labels_that_do_not_fit_are_reported(data, message):
    with pytest.raises(InputError, match=message):
        check_labels(data, 3, part="val")


@pytest.mark.parametrize("labels", [[[0], [2, 1], [], [0, 3]], [[0, 1], [1, 2], [0, 1], [0, 3]]])
def test_labels_of_multi_label_data(labels):
    class Several(Data):
        CLASSES = ("a", "b", "c")

        def __len__(self):
            return len(self.labels)

        def get_data_info(self, index):
            return {"img_path": f"image{index}.jpg", "gt_label": self.labels[index]}

    with pytest.raises(InputError, match=r"1 label of the test .* image3\.jpg has label 3, but"):
        check_labels(Several(labels, ["a", "b", "c"]), 3, part="test")
    check_labels(Several(labels[:3], ["a", "b", "c"]), 3, part="test")


def test_parts_with_different_classes():
    check_same_classes(Data([], ["a", "b"]), Data([], ["a", "b"]))
    with pytest.raises(InputError, match=r"only in train: b; only in val: c"):
        check_same_classes(Data([], ["a", "b"]), Data([], ["a", "c"]))


def test_mmpretrain_has_the_same_words_for_any_folders_of_imagenet():
    first, second = (Data([], IMAGENET_CATEGORIES) for _ in range(2))
    folders = imagenet_folders()
    first.folder_to_idx = {name: label for label, name in enumerate(folders)}
    check_same_classes(first, second)  # A list of labels instead of folders.
    second.folder_to_idx = {name: label for label, name in enumerate((*folders[:-1], "n99"))}
    with pytest.raises(InputError, match=r"only in train: n15075141; only in val: n99"):
        check_same_classes(first, second)


def test_names_that_a_config_gives_to_other_folders():
    first, second = Data([], ["cat", "dog"]), Data([], ["cat", "dog"])
    first.folder_to_idx, second.folder_to_idx = {"n1": 0, "n2": 1}, {"m1": 0, "m2": 1}
    check_same_classes(first, second)


def test_a_single_class():
    with pytest.raises(InputError, match=r"train data in somewhere has a single class \(cat\)"):
        check_labels(Data([0, 0], ["cat"]), 1, part="train")
    with pytest.raises(InputError, match="single class, but a classifier needs two"):
        check_labels(Data([0, 0]), 1, part="train")
