"""Labels of maps equal mmseg's for 8-bit ids, and larger ids are never cut."""

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations

from bam_mm import InputError
from bam_mm.data import CheckSemanticMap, LoadSemanticMap
from tests.data.annotated import encoded, png


def entry(folder, data, shape, *, reduced=False, label_map=None):
    (folder / "map.png").write_bytes(data)
    return dict(
        seg_map_path=str(folder / "map.png"),
        img_path="photo.jpg",
        ori_shape=shape,
        reduce_zero_label=reduced,
        label_map=label_map,
        seg_fields=[],
    )


@pytest.mark.parametrize("label_map", [None, {0: 2, 1: 255, 2: 0, 7: 1}])
@pytest.mark.parametrize("reduced", [False, True])
def test_labels_equal_those_of_mmseg(reduced, label_map, tmp_path):
    ids = np.random.RandomState(0).choice([0, 1, 2, 3, 8, 199, 255], (20, 30)).astype(np.uint8)
    info = entry(tmp_path, encoded(ids), ids.shape, reduced=reduced, label_map=label_map)
    found = LoadSemanticMap(200)(dict(info, seg_fields=[]))
    theirs = LoadAnnotations()(dict(info, seg_fields=[]))
    assert found["gt_seg_map"].dtype == theirs["gt_seg_map"].dtype == np.uint8
    assert np.array_equal(found["gt_seg_map"], theirs["gt_seg_map"])
    assert found["seg_fields"] == theirs["seg_fields"] == ["gt_seg_map"]


@pytest.mark.parametrize("reduced", [False, True])
def test_sixteen_bits_below_the_classes_are_the_same_labels(reduced, tmp_path):
    ids = np.array([[0, 1, 150], [255, 2, 199]], np.uint16)
    labels = LoadSemanticMap(200)(entry(tmp_path, png(ids, 16), ids.shape, reduced=reduced))
    expected = np.where(np.isin(ids, [0, 255] if reduced else [255]), 255, ids - reduced)
    assert np.array_equal(labels["gt_seg_map"], expected)


@pytest.mark.parametrize("value", [262, 256, 65535, 254, 201])
@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("kind", [LoadSemanticMap, CheckSemanticMap])
def test_larger_ids_stop(kind, reduced, value, tmp_path):
    ids = np.array([[1, 2], [value, value]], np.uint16)
    info = entry(tmp_path, png(ids, 16), ids.shape, reduced=reduced)
    known = r"1 to 200 \(0: unlabelled\)" if reduced else r"0 to 199 \(255: ignored\)"
    if kind is CheckSemanticMap:  # It follows mmseg's loader, which cuts 262 to 6.
        info = LoadAnnotations()(info)
    message = f"map.png has label {value} in 2 pixels, the head knows {known}: .*correct the map"
    with pytest.raises(InputError, match=message) as caught:
        kind(200)(info)
    assert (f"num_classes={value + (not reduced)}" in str(caught.value)) == (value < 254)


def test_a_map_that_counts_from_one(tmp_path):
    ids = np.array([[1, 3]], np.uint8)
    with pytest.raises(InputError, match=r"label 3 .*num_classes=4, or .*reduce_zero_label=True"):
        LoadSemanticMap(3)(entry(tmp_path, encoded(ids), (1, 2)))


@pytest.mark.parametrize("classes, reduced", [(256, False), (255, True), (300, True)])
def test_more_classes_than_labels(classes, reduced, tmp_path):
    info = entry(tmp_path, encoded(np.ones((1, 2), np.uint8)), (1, 2), reduced=reduced)
    with pytest.raises(InputError, match=rf"num_classes={classes}: .* at most {255 - reduced} cla"):
        LoadSemanticMap(classes)(info)


@pytest.mark.parametrize("size", [(4, 3), (16, 12), (6, 8), (8, 7), (9, 6)])
@pytest.mark.parametrize("kind", [LoadSemanticMap, CheckSemanticMap])
def test_maps_of_another_size_stop(kind, size, tmp_path):
    info = entry(tmp_path, encoded(np.ones(size, np.uint8)), (8, 6))
    if kind is CheckSemanticMap:
        info = LoadAnnotations()(info)
    message = rf"photo\.jpg has 6x8 px, but its map .*map\.png is for {size[1]}x{size[0]} px"
    with pytest.raises(InputError, match=message):
        kind(3)(info)


def test_the_check_accepts_maps_resized_with_their_image(tmp_path):
    info = LoadAnnotations()(entry(tmp_path, encoded(np.ones((4, 3), np.uint8)), (8, 6)))
    assert CheckSemanticMap(3)(dict(info, img_shape=(4, 3)))["gt_seg_map"].shape == (4, 3)


def test_channels_that_mmseg_does_not_merge(tmp_path):
    ids = np.ones((8, 6), np.uint8)
    info = entry(tmp_path, encoded(np.dstack([ids] * 3)), ids.shape)
    assert np.array_equal(LoadSemanticMap(3)(dict(info, seg_fields=[]))["gt_seg_map"], ids)
    with pytest.raises(InputError, match=r"map\.png has 3 channels: .*bam_mm\.LoadSemanticMap"):
        CheckSemanticMap(3)(LoadAnnotations()(info))


def test_missing_maps_and_results_without_one(tmp_path):
    info = entry(tmp_path, b"", (8, 6))
    (tmp_path / "map.png").unlink()
    with pytest.raises(InputError, match=r"map\.png cannot be read \(No such file"):
        LoadSemanticMap(3)(info)
    results = dict(img=np.zeros((2, 3, 3), np.uint8))
    assert LoadSemanticMap(3)(results) is results
