"""The transfer data sets, on small artificial trees in their authors' layout."""

import pickle

import mat4py
import numpy as np
import pytest
from mmpretrain.datasets import CIFAR10

from bam_mm.data import LoadImage, transfer_dataset
from bam_mm.errors import InputError


def labels_of(dataset):
    return dataset.get_gt_labels().tolist()


def test_pets_has_our_validation_split(tmp_path):
    (tmp_path / "annotations").mkdir()
    lines = [f"breed{c}_{n} {c + 1} 1 1\n" for c in range(37) for n in range(10)]
    for name in ("trainval", "test"):
        (tmp_path / f"annotations/{name}.txt").write_text("".join(lines))
    parts = {
        s: transfer_dataset("pets", str(tmp_path), s, check=False)
        for s in ("train", "val", "trainval", "test")
    }
    # 740 of 3680 is slightly more than a fifth: 74 of 370, two of each class.
    assert {s: len(d) for s, d in parts.items()} == dict(train=296, val=74, trainval=370, test=370)
    assert np.bincount(labels_of(parts["val"])).tolist() == [2] * 37
    paths = {s: {d.get_data_info(i)["img_path"] for i in range(len(d))} for s, d in parts.items()}
    assert paths["train"] | paths["val"] == paths["trainval"]
    assert not paths["train"] & paths["val"]
    assert parts["val"].metainfo["split_name"] == "val (our balanced split, seed 0)"
    assert parts["test"].metainfo["split_name"] == "test (official)"


def test_flowers_has_its_official_splits(tmp_path):
    mat4py.savemat(str(tmp_path / "imagelabels.mat"), {"labels": [1, 2, 3, 102, 5, 6]})
    ids = {"trnid": [1, 4], "valid": [2, 3], "tstid": [5, 6]}
    mat4py.savemat(str(tmp_path / "setid.mat"), ids)
    found = {
        s: labels_of(transfer_dataset("flowers", str(tmp_path), s, check=False))
        for s in ("train", "val", "trainval", "test")
    }
    assert found == dict(train=[0, 101], val=[1, 2], trainval=[0, 101, 1, 2], test=[4, 5])
    train = transfer_dataset("flowers", str(tmp_path), "train", check=False)
    assert train.metainfo["split_name"] == "train (official)" and len(train.CLASSES) == 102


def test_cifars_images_are_in_bgr(tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    red = np.zeros((20, 3, 32, 32), np.uint8)
    red[:, 0] = 200
    for name in ("data_batch_1", "test_batch"):
        content = {"data": red.reshape(20, -1), "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", None]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", None]])
    train = transfer_dataset("cifar10", str(tmp_path), "train", pipeline=[LoadImage()], check=False)
    assert len(train) == 18 and len(train.CLASSES) == 10
    assert train[0]["img"][0, 0].tolist() == [0, 0, 200]


def test_missing_files_are_reported_before_anything_is_built(tmp_path):
    with pytest.raises(InputError, match=r"flowers: 0 of 8,189 images .*102flowers\.tgz") as error:
        transfer_dataset("flowers", str(tmp_path), "train")
    assert f"bam-mm check-data flowers {tmp_path}" in str(error.value)
    with pytest.raises(InputError, match="choose one of food101, cifar10"):
        transfer_dataset("birds", str(tmp_path), "train")
    with pytest.raises(InputError, match="split='all': choose one of train, val"):
        transfer_dataset("pets", str(tmp_path), "all")
