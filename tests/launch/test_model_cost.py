"""The size at which a test's backbone is counted, and backbones that cannot be."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bam_mm.launch.model_cost import model_cost


class Items(list):
    """A data set of images, or of videos."""

    videos = ()


class Branching(nn.Linear):
    def forward(self, x):
        return x if x.mean() > 0 else -x


def cost(backbone=None, shape=(20, 30), videos=(), loop=None, **model):
    data = Items([{"inputs": torch.zeros(3, *shape)}])
    data.videos = videos
    backbone = nn.Conv2d(3, 2, 1) if backbone is None else backbone
    found = SimpleNamespace(backbone=backbone, **model)
    return model_cost(loop, found, SimpleNamespace(dataset=data))


@pytest.mark.parametrize(
    "options, size",
    [
        ({}, [20, 30]),
        # A detector pads its images, and one that segments in windows sees one of them at a time.
        (dict(data_preprocessor=SimpleNamespace(pad_size_divisor=32)), [32, 32]),
        (dict(test_cfg=dict(mode="slide", crop_size=(16, 12))), [16, 12]),
        (dict(test_cfg=dict(mode="whole")), [20, 30]),
        # The long side of 854 is rounded down to a multiple of 64.
        (dict(videos=[SimpleNamespace(size=(480, 854))], short_side=480, divisor=64), [480, 832]),
    ],
)
def test_the_size_is_that_of_the_backbones_input(options, size):
    found = cost(**options)
    assert found["size"] == size and found["parameters"] == 8
    assert found["gmacs"] == pytest.approx(6 * size[0] * size[1] / 1e9)
    assert found["images_per_s"] is None and found["peak_mb"] is None


def test_what_cannot_be_counted_is_not_known():
    found = cost(Branching(3, 3))
    assert found["gmacs"] is None and found["parameters"] == 12
    assert cost(backbone="none") is None


def test_the_network_and_the_speed_of_a_loop_on_features(monkeypatch):
    monkeypatch.setenv("BAM_MM_RUNS", "3")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    meter = SimpleNamespace(
        images=90, seconds=0.5, read=100, elapsed=2.0, peak_mb=700.0, peak_gpu_mb=None
    )
    loop = SimpleNamespace(extractor=nn.Conv2d(3, 4, 1), meter=meter)
    found = cost(loop=loop)
    assert found["parameters"] == 16
    assert (found["images_per_s"], found["read_images_per_s"]) == (180.0, 50.0)
    assert (found["peak_mb"], found["peak_gpu_mb"]) == (700.0, None)
    assert (found["threads"], found["sharing"]) == (torch.get_num_threads(), 6)
