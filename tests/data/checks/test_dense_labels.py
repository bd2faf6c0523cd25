"""Detection and segmentation data that do not fit the model: one message for each fault."""

import numpy as np
import pytest
from torch import nn

from bam_mm import InputError
from bam_mm.data import CheckSemanticMap
from bam_mm.data.checks.dense_labels import check_dense_data, check_map


class Head(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.num_classes = num_classes


class Model(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.rpn_head, self.backbone = Head(1), Head(1000)
        self.roi_head = nn.ModuleDict({"bbox_head": nn.ModuleList([Head(num_classes)] * 3)})


class Instances:
    def __init__(self, root, classes, images=("a.jpg", "b.jpg")):
        self.data_root, self.metainfo = str(root), {"classes": tuple(classes)}
        self.ann_file, self.cat_ids = str(root / "i.json"), [1, 2]
        self.images = [dict(img_path=str(root / name)) for name in images]
        for name in ("a.jpg", "b.jpg"):
            (root / name).touch()

    def __len__(self):
        return len(self.images)

    def get_data_info(self, index):
        return self.images[index]


class Wrapped:
    def __init__(self, dataset):
        self.dataset = dataset


def test_matching_data_passes(tmp_path):
    check_dense_data(Model(2), Instances(tmp_path, ["cat", "dog"]), "train")
    check_dense_data(Model(2), Wrapped(Instances(tmp_path, ["cat", "dog"])), "train")


@pytest.mark.parametrize(
    "classes, settings, message",
    [
        (
            3,
            {},
            r"model\.roi_head\.bbox_head\.0 has 3 classes, but the val data in .* has 2 "
            r"\(cat, dog\).*num_classes=2",
        ),
        (
            2,
            dict(images=["a.jpg", "c.jpg", "d.jpg"]),
            r"2 of 3 images of .*i\.json are missing, the first: .*c\.jpg",
        ),
        (2, dict(images=[]), r"has no image with an annotation"),
    ],
)
def test_each_fault_has_its_own_message(classes, settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        check_dense_data(Model(classes), Instances(tmp_path, ["cat", "dog"], **settings), "val")


def test_a_missing_map(tmp_path):
    data = Instances(tmp_path, ["cat", "dog"])
    for number, info in enumerate(data.images):
        info["seg_map_path"] = str(tmp_path / f"{number}.png")
    (tmp_path / "0.png").touch()
    with pytest.raises(InputError, match=r"1 of 2 maps of .* are missing, the first: .*1\.png"):
        check_dense_data(Model(2), data, "train")


def test_labels_beyond_the_classes():
    labels = np.array([[0, 2, 255], [1, 1, 255]])
    check_map(labels, 3, "m.png")
    message = (
        r"m\.png has label 2 in 1 pixels, the head knows 0 to 1 \(255: ignored\): set "
        r"--cfg-options num_classes=3"
    )
    with pytest.raises(InputError, match=message):
        check_map(labels, 2, "m.png")
    results = dict(gt_seg_map=labels, seg_map_path="m.png", reduce_zero_label=True)
    message = r"has label 3 in 1 pixels, the head knows 1 to 2 \(0: unl"
    with pytest.raises(InputError, match=message):
        CheckSemanticMap(2).transform(results)
    assert CheckSemanticMap(3).transform(results) is results


def test_results_without_labels_pass():
    results = dict(img=np.zeros((2, 3, 3), np.uint8), reduce_zero_label=True)
    assert CheckSemanticMap(2).transform(results) is results
