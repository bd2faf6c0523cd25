"""Parameters and multiply-accumulates against known numbers, and the meter of an extraction."""

import pytest
import timm
import torch
from torch import nn

from bam_mm.models import cost
from bam_mm.models.cost import ExtractionMeter, complexity
from bam_mm.models.feature_extraction import extract_shards
from tests.models.test_feature_extraction import BATCH, IMAGES, Backbone, Loader


def of_timm(name, **options):
    with torch.device("meta"):
        return complexity(timm.create_model(name, **options), (224, 224))


@pytest.mark.parametrize(
    "name, options, millions, gmacs",
    [
        # torchvision's documentation: 25.6 M parameters, 4.09 GFLOPS (which are GMACs).
        ("resnet50", {}, 25.6, 4.09),
        ("resnet50", dict(num_classes=0), 23.5, 4.09),
        # timm's tables state 4.6 GMACs, in which the products of attention are included.
        ("vit_small_patch16_224", {}, 22.05, 4.6),
    ],
)
def test_known_networks(name, options, millions, gmacs):
    found = of_timm(name, **options)
    assert found.parameters / 1e6 == pytest.approx(millions, rel=0.02)
    assert found.macs / 1e9 == pytest.approx(gmacs, rel=0.02)


def test_numbers_worked_out_by_hand():
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)  # 8 maps of 5 x 7, 27 products for each pixel
    module = nn.Sequential(conv, nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(280, 4))
    found = complexity(module, (10, 14))
    assert found.macs == 8 * 5 * 7 * 27 + 280 * 4
    assert found.parameters == 27 * 8 + 8 + 16 + 280 * 4 + 4
    assert module[0].weight.device.type == "cpu" and module[1].num_batches_tracked == 0


def test_a_network_is_counted_as_it_is_evaluated():
    """In training mode, BatchNorm refuses the map of 1 x 1 of a single image."""
    module = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Dropout())
    assert complexity(module, (8, 8)).macs == 4 * 3 * 8 * 8
    assert all(part.training for part in module.modules())


def test_attention_counts_both_of_its_products():
    size, width, depth = 224, 192, 12  # ViT-Ti/16: 197 tokens
    tokens = 1 + (size // 16) ** 2
    linear = depth * tokens * width * width * (3 + 1 + 4 + 4)
    products = depth * 2 * tokens**2 * width
    patches = (tokens - 1) * 3 * 16**2 * width
    found = of_timm("vit_tiny_patch16_224", num_classes=0)
    assert found.macs == linear + products + patches


def test_a_path_that_depends_on_values_is_an_error():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.mean() > 0 else -x

    with pytest.raises(RuntimeError):
        complexity(Branching(), (4, 4))


class Clock:
    """A clock that only goes on where something is said to take time."""

    now = 0.0

    def perf_counter(self):
        return self.now


class Slow(Backbone):
    """Takes 2 s for a batch, and 20 s for the first one."""

    def __init__(self, clock):
        super().__init__(1.0)
        self.clock, self.calls = clock, 0

    def forward(self, x):
        self.clock.now += 2 if self.calls else 20
        self.calls += 1
        return super().forward(x)


def test_the_meter_leaves_out_reading_the_first_batch_and_a_smaller_one(monkeypatch):
    class SlowLoader(Loader):
        def __iter__(self):
            for batch in super().__iter__():
                clock.now += 5
                yield batch

    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)

    meter = ExtractionMeter()
    options = dict(description="all", whole=True, meter=meter)
    found = extract_shards({"": Slow(clock)}, lambda data, _: data, SlowLoader(), **options)
    without = extract_shards(
        {"": Slow(clock)}, lambda data, _: data, Loader(), **{**options, "meter": None}
    )
    assert found[""].features.equal(without[""].features)
    # Of batches with 4, 4 and 3 images, the first and the last are left out.
    assert (meter.read, meter.images) == (IMAGES, BATCH)
    assert (meter.seconds, meter.elapsed) == (2, 20 + 2 * 2 + 3 * 5)
    assert meter.peak_mb > 50 and meter.peak_gpu_mb is None
    # A second data set is added, also if it is a single batch.
    with meter.extracting(torch.device("cpu")), meter.batch(3, torch.device("cpu")):
        pass
    assert (meter.read, meter.images) == (IMAGES + 3, BATCH + 3)
