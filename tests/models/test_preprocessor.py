"""Checks, augmentation and normalisation of a batch."""

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample

from bam_mm import InputError
from bam_mm.data.photometric.draw import PhotometricSpec, draw
from bam_mm.data.photometric.on_device import apply_to_batch
from bam_mm.models import MultiViewPreprocessor

LAYOUT = dict(num_global=2, num_local=1, global_size=16, local_size=8)
MEAN, STD = (10.0, 20.0, 30.0), (1.0, 2.0, 4.0)


def batch(place=None, sizes=(16, 16, 8)):
    g = torch.Generator().manual_seed(0)
    sample = DataSample()
    if place:
        sample.set_field(place, "photometric_place", field_type="metainfo")
    views = [torch.randint(0, 256, (4, 3, s, s), generator=g).to(torch.uint8) for s in sizes]
    return dict(inputs=views, data_samples=[sample] * 4)


def preprocessor(place, **kw):
    return MultiViewPreprocessor(LAYOUT, photometric_place=place, mean=MEAN, std=STD, **kw)


def test_with_augmentation_in_the_worker_views_are_only_normalised():
    data = batch("worker")
    out = preprocessor("worker")(data, True)["inputs"]
    for view, result in zip(data["inputs"], out, strict=True):
        rgb = view[:, [2, 1, 0]].float()
        wanted = (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        torch.testing.assert_close(result, wanted)


def test_on_the_device_each_view_gets_its_own_augmentation_in_rgb():
    specs = [dict(blur_prob=0.0), dict(blur_prob=1.0), dict(gray_prob=1.0)]
    data = batch("device")
    np.random.seed(5)
    out = preprocessor("device", photometric=specs)(batch("device"), True)["inputs"]
    np.random.seed(5)
    for spec, view, result in zip(specs, data["inputs"], out, strict=True):
        rgb = apply_to_batch(view.flip(1), draw(PhotometricSpec(**spec), 4))
        wanted = (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        torch.testing.assert_close(result, wanted)


@pytest.mark.parametrize("place", ["device", "worker"])
def test_mixed_precision_does_not_touch_the_images(place):
    prepare, found = preprocessor(place), []
    for enabled in (False, True):
        np.random.seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found.append(prepare(batch(), True)["inputs"])
    for plain, mixed in zip(*found, strict=True):
        assert mixed.dtype == torch.float32 and torch.equal(plain, mixed)


def test_a_single_tensor_is_never_augmented():
    image = torch.full((2, 3, 16, 16), 50, dtype=torch.uint8)
    out = preprocessor("device")(dict(inputs=image, data_samples=[DataSample()] * 2), False)
    torch.testing.assert_close(out["inputs"][0, :, 0, 0], torch.tensor([40.0, 15.0, 5.0]))


def test_views_that_do_not_match_the_layout():
    with pytest.raises(InputError, match="delivers 2 views"):
        preprocessor("worker")(batch(sizes=(16, 16)), True)
    with pytest.raises(InputError, match="24x24"):
        preprocessor("worker")(batch(sizes=(16, 24, 8)), True)


@pytest.mark.parametrize(
    "pipeline,place,times", [("worker", "device", "twice"), ("device", "worker", "never")]
)
def test_pipeline_and_preprocessor_must_agree_on_the_place(pipeline, place, times):
    with pytest.raises(InputError, match=f"would run {times}"):
        preprocessor(place)(batch(pipeline), True)
