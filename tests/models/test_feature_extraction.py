"""Features of several backbones from one reading of the images."""

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn

from bam_mm import InputError
from bam_mm.models.feature_extraction import extract_features, extract_together

IMAGES, BATCH = 11, 4


class Loader:
    """Batches in another order than the data set's; counts what is read."""

    def __init__(self, spoilt=None):
        self.dataset, self.read, self.spoilt = range(IMAGES), 0, spoilt

    def __len__(self):
        return -(-IMAGES // BATCH)

    def __iter__(self):
        order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0)).tolist()
        for start in range(0, IMAGES, BATCH):
            chosen = order[start : start + BATCH]
            self.read += len(chosen)
            inputs = torch.stack([image(i) for i in chosen])
            if self.spoilt in chosen:
                inputs[chosen.index(self.spoilt), 0, 0, 0] = torch.nan
            samples = [
                DataSample(metainfo=dict(sample_idx=i, img_path=f"{i}.jpg")).set_gt_label(i % 3)
                for i in chosen
            ]
            yield dict(inputs=inputs, data_samples=samples)


class Backbone(nn.Module):
    """A map of three channels with a scale; in training mode of zeros."""

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


def test_each_as_by_itself_and_in_the_order_of_the_data_set():
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


@pytest.mark.parametrize("spoilt", range(IMAGES))
def test_the_image_that_gives_no_number_is_named_wherever_it_comes(spoilt):
    backbones = {"student": Backbone(1.0), "teacher": Backbone(1.0)}
    with pytest.raises(InputError, match=rf"Backbone gives .* not finite for {spoilt}\.jpg"):
        together(backbones, Loader(spoilt))
    assert all(backbone.training for backbone in backbones.values())


def test_at_most_one_batch_is_read_after_the_spoilt_one():
    loader = Loader()
    first = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(0)).tolist()[0]
    loader.spoilt = first
    with pytest.raises(InputError, match=rf"{first}\.jpg"):
        together({"student": Backbone(1.0)}, loader)
    assert loader.read == 2 * BATCH
