"""Views in the layout's order and sizes; the photometric part at the place that was asked for."""

import numpy as np
import pytest

from mmpretrain.datasets.transforms import PackInputs

from bam_mm import ViewLayout
from bam_mm.data import MultiCrop
from bam_mm.data.photometric import PhotometricSpec

LAYOUT = ViewLayout(num_global=2, num_local=3, global_size=32, local_size=16)


def image(size=(40, 60)):
    ramp = np.linspace(0, 255, size[0] * size[1]).reshape(*size, 1)
    return np.repeat(ramp, 3, axis=2).astype(np.uint8)


def views(**kw):
    np.random.seed(0)
    transform = MultiCrop(LAYOUT, **kw)
    return transform(dict(img=image(), img_shape=(40, 60)))


def test_order_and_sizes_follow_the_layout():
    result = views()
    assert [v.shape for v in result["img"]] == [(32, 32, 3)] * 2 + [(16, 16, 3)] * 3
    assert all(v.dtype == np.uint8 for v in result["img"])


def test_photometric_in_the_worker_only_where_asked_for():
    colours = [PhotometricSpec(solarize_prob=1.0, jitter_prob=0, gray_prob=0, blur_prob=0)] * 5
    kw = dict(photometric=[vars(c) for c in colours], global_scale=(1, 1), local_scale=(1, 1))
    worker = views(photometric_place="worker", **kw)
    device = views(photometric_place="device", **kw)
    assert worker["photometric_place"] == "worker" and device["photometric_place"] == "device"
    assert max(v.max() for v in worker["img"]) <= 128
    assert max(v.max() for v in device["img"]) > 200


def test_area_of_a_crop_follows_the_given_scale():
    # Blue rises from left to right, green from top to bottom: their spread tells a crop's sides.
    ramp = np.linspace(0, 255, 200)
    whole = np.stack([*np.meshgrid(ramp, ramp), np.zeros((200, 200))], axis=-1).astype(np.uint8)
    np.random.seed(0)
    plain = [dict(jitter_prob=0, gray_prob=0, blur_prob=0)] * 5
    transform = MultiCrop(
        LAYOUT, global_scale=(0.25, 1.0), local_scale=(0.05, 0.25), photometric=plain,
        photometric_place="worker",
    )  # fmt: skip
    areas = []
    for _ in range(200):
        out = transform(dict(img=whole, img_shape=(200, 200)))["img"]
        sides = [np.ptp(v.astype(float), axis=(0, 1))[:2] / 255 for v in out]
        areas.append([np.prod(side) for side in sides])
    large, small = np.array(areas)[:, :2], np.array(areas)[:, 2:]
    assert 0.21 < large.min() < 0.3 and 0.85 < large.max() <= 1.0
    assert 0.035 < small.min() < 0.06 and 0.2 < small.max() < 0.26
    # Uniform over (.05, .25); edge pixels are averaged away by the resize.
    assert small.mean() == pytest.approx(0.14, abs=0.015)


def test_views_of_one_image_differ():
    out = views()["img"]
    assert not np.array_equal(out[0], out[1])


def test_the_places_of_the_crops_stay_out_of_the_batch_unless_asked_for():
    out = views()
    assert len(out["crop_boxes"]) == len(out["flips"]) == len(out["img"])
    for top, left, bottom, right in out["crop_boxes"]:
        assert 0 <= top < bottom <= 40 and 0 <= left < right <= 60
    assert "crop_boxes" not in PackInputs()(dict(out))["data_samples"]
    asked = PackInputs(meta_keys=("crop_boxes",))(dict(out))["data_samples"]
    assert asked.crop_boxes == out["crop_boxes"]
