"""Features of several backbones from images that are read once."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from bam_mm import InputError
from bam_mm.models.feature_extraction import extract_features, extract_shards, extract_together

IMAGES, BATCH = 11, 4


class Loader:
    """Batches in another order than the data set's; counts the images that are read."""

    def __init__(self, bad=None):
        self.dataset, self.read, self.bad = range(IMAGES), 0, bad

    def __len__(self):
        return -(-IMAGES // BATCH)

    def __iter__(self):
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0)).tolist()
        for start in range(0, IMAGES, BATCH):
            chosen = order[start : start + BATCH]
            self.read += len(chosen)
            inputs = torch.stack([image(i) for i in chosen])
            if self.bad in chosen:
                inputs[chosen.index(self.bad), 0, 0, 0] = torch.nan
            samples = [
                DataSample(metainfo=dict(sample_idx=i, img_path=f"{i}.jpg")).set_gt_label(i % 3)
                for i in chosen
            ]
            yield dict(inputs=inputs, data_samples=samples)


class Backbone(nn.Module):
    """Outputs the scaled images as a map, or zeros in training mode."""

    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return (self.scale * x * (not self.training),)


def image(index):
    return torch.randn(3, 5, 5, generator=torch.Generator().manual_seed(index))


def together(backbones, loader):
    return extract_together(
        backbones, lambda data, training: data, loader, description="all", gather=True
    )


def test_features_equal_those_of_a_single_backbone_in_the_order_of_the_data_set():
    backbones, loader = {"one": Backbone(1.0).train(), "two": Backbone(-2.0).eval()}, Loader()
    tables, labels = together(backbones, loader)
    assert loader.read == IMAGES
    assert [b.training for b in backbones.values()] == [True, False]
    wanted = torch.stack([image(i).mean(dim=(1, 2)) for i in range(IMAGES)])
    torch.testing.assert_close(tables["one"], wanted)
    torch.testing.assert_close(tables["two"], -2 * wanted)
    assert labels.tolist() == [i % 3 for i in range(IMAGES)]
    for name, backbone in backbones.items():
        alone, same = extract_features(
            backbone, lambda data, training: data, Loader(), description=name, gather=True
        )
        assert torch.equal(alone, tables[name]) and torch.equal(same, labels)


@pytest.mark.parametrize("bad", range(IMAGES))
def test_error_names_the_image_with_a_feature_that_is_not_finite(bad):
    backbones = {"student": Backbone(1.0), "teacher": Backbone(1.0)}
    with pytest.raises(InputError, match=rf"Backbone returns .* not finite for {bad}\.jpg"):
        together(backbones, Loader(bad))
    assert all(backbone.training for backbone in backbones.values())


def test_at_most_one_batch_is_read_after_the_bad_one():
    loader = Loader()
    first = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0)).tolist()[0]
    loader.bad = first
    with pytest.raises(InputError, match=rf"{first}\.jpg"):
        together({"student": Backbone(1.0)}, loader)
    assert loader.read == 2 * BATCH


@pytest.mark.parametrize("scale, kept", [(1e6, False), (1e-6, False), (0.0, True), (10.0, True)])
def test_features_that_float16_cannot_hold(scale, kept):
    options = dict(description="all", whole=True, dtype=torch.float16)

    def extract():
        return extract_shards({"": Backbone(scale)}, lambda d, _: d, Loader(), **options)[""]

    if kept:
        wanted = scale * torch.stack([image(i).mean(dim=(1, 2)) for i in range(IMAGES)])
        assert torch.equal(extract().features, wanted.half())
        return
    with pytest.raises(InputError, match=r"float16 cannot hold .* set feature_dtype='float32'"):
        extract()


def test_a_data_set_without_images():
    loader = Loader()
    loader.dataset = range(0)
    with pytest.raises(InputError, match="all: the data set has no images"):
        together({"one": Backbone(1.0)}, loader)
