"""Views in the layout's order and sizes, with photometric augmentation at the chosen place."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmpretrain.datasets.transforms import PackInputs, RandomFlip, RandomResizedCrop

from bam_mm import InputError, ViewLayout
from bam_mm.data import MultiCrop, Photometric
from bam_mm.data.photometric.draw import PhotometricSpec, specs_of_views
from tests.data.photographs import photograph

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


def test_photometric_augmentation_in_the_worker_only_if_chosen():
    colours = [PhotometricSpec(solarize_prob=1.0, jitter_prob=0, gray_prob=0, blur_prob=0)] * 5
    kw = dict(photometric=[vars(c) for c in colours], global_scale=(1, 1), local_scale=(1, 1))
    worker = views(photometric_place="worker", **kw)
    device = views(photometric_place="device", **kw)
    assert worker["photometric_place"] == "worker" and device["photometric_place"] == "device"
    assert max(v.max() for v in worker["img"]) <= 128
    assert max(v.max() for v in device["img"]) > 200


def test_the_area_of_a_crop_follows_its_scale():
    # Blue increases from left to right, green from top to bottom: their ranges are a crop's sides.
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
    # Uniform over (0.05, 0.25); resizing averages the edge pixels.
    assert small.mean() == pytest.approx(0.14, abs=0.015)


def test_views_of_one_image_differ():
    out = views()["img"]
    assert not np.array_equal(out[0], out[1])


def test_crop_boxes_are_in_the_batch_only_on_request():
    out = views()
    assert len(out["crop_boxes"]) == len(out["flips"]) == len(out["img"])
    for top, left, bottom, right in out["crop_boxes"]:
        assert 0 <= top < bottom <= 40 and 0 <= left < right <= 60
    assert "crop_boxes" not in PackInputs()(dict(out))["data_samples"]
    asked = PackInputs(meta_keys=("crop_boxes",))(dict(out))["data_samples"]
    assert asked.crop_boxes == out["crop_boxes"]


@pytest.mark.parametrize("place", ["worker", "device"])
def test_pillow_views_equal_those_of_the_chain_of_transforms(place):
    # mmpretrain's transforms one after the other have the same pixels and the same draws.
    picture = photograph(0, 120)
    scales = [(0.25, 1.0)] * 2 + [(0.05, 0.25)] * 3
    chains = []
    for size, scale, spec in zip(LAYOUT.sizes, scales, specs_of_views(2, 3), strict=True):
        crop = RandomResizedCrop(
            size, crop_ratio_range=scale, interpolation="bicubic", backend="pillow"
        )
        steps = [crop, RandomFlip(prob=0.5)]
        chains.append(Compose([*steps, Photometric(**vars(spec))] if place == "worker" else steps))
    for seed in range(5):
        np.random.seed(seed)
        wanted = [chain(dict(img=picture.copy())) for chain in chains]
        after = np.random.random_sample()
        np.random.seed(seed)
        found = MultiCrop(LAYOUT, photometric_place=place)(dict(img=picture))
        assert np.random.random_sample() == after
        assert found["flips"] == [bool(w["flip"]) for w in wanted]
        for view, chained in zip(found["img"], wanted, strict=True):
            assert np.array_equal(view, chained["img"])


@pytest.mark.parametrize("place,near", [("device", 0.2), ("worker", 1.0)])
def test_both_backends_draw_and_produce_the_same_views(place, near):
    picture, found = photograph(1, 150), []
    kept = picture.copy()
    for backend in ("pillow", "torch"):
        np.random.seed(0)
        crop = MultiCrop(LAYOUT, photometric_place=place, backend=backend)
        found.append([crop(dict(img=picture)) for _ in range(20)] + [np.random.random_sample()])
    *pillow, after = found[0]
    *torch, after_torch = found[1]
    assert after == after_torch and np.array_equal(picture, kept)
    differences = []
    for a, b in zip(pillow, torch, strict=True):
        assert a["crop_boxes"] == b["crop_boxes"] and a["flips"] == b["flips"]
        for x, y in zip(a["img"], b["img"], strict=True):
            assert x.shape == y.shape and y.dtype == np.uint8
            differences.append(np.abs(x.astype(float) - y).mean())
    assert np.mean(differences) < near and max(differences) < 4


def test_views_are_flipped_with_the_chosen_probability():
    picture = photograph(0, 32)
    for backend in ("pillow", "torch"):
        for prob in (0.0, 0.3, 1.0):
            np.random.seed(0)
            crop = MultiCrop(
                LAYOUT, photometric_place="device", backend=backend, flip_prob=prob,
                global_scale=(1, 1), local_scale=(1, 1),
            )  # fmt: skip
            results = [crop(dict(img=picture)) for _ in range(100)]
            flips = np.array([r["flips"] for r in results])
            assert abs(flips.mean() - prob) <= 4 * (prob * (1 - prob) / 500) ** 0.5
            # Crops of the whole square image: the view itself shows whether it is flipped.
            for result in results[:10]:
                for view, flip in zip(result["img"], result["flips"], strict=True):
                    small = cv2.resize(picture, view.shape[:2], interpolation=cv2.INTER_AREA)
                    sides = [np.abs(v.astype(int) - small).mean() for v in (view, view[:, ::-1])]
                    assert (sides[0] > sides[1]) == flip


def test_packing_a_planar_view_keeps_the_order_of_its_pixels():
    out = MultiCrop(LAYOUT, photometric_place="device", backend="torch")(
        dict(img=photograph(0, 90))
    )
    views = [v.copy() for v in out["img"]]
    packed = PackInputs()(out)["inputs"]
    for view, tensor in zip(views, packed, strict=True):
        assert tensor.is_contiguous()
        assert np.array_equal(tensor.permute(1, 2, 0).numpy(), view)


def test_unknown_backend():
    with pytest.raises(InputError, match=r"backend='cv2': choose one of pillow, torch"):
        MultiCrop(LAYOUT, backend="cv2")
