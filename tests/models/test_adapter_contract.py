"""What the contract of backbones measures, refuses and says."""

import mmpretrain
import pytest
import timm
import torch
import torchvision
from mmengine.registry import init_default_scope
from torch import nn

from bam_mm import InputError
from bam_mm.models.adapters import adapter_of
from bam_mm.models.map_norm import over_channels
from tests.models.families import BY_NAME, build, images


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmpretrain")
    with torch.no_grad():
        yield


class Nhwc(nn.Module):
    """Channels last, where two lengths are equal so that no length tells."""

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 16).repeat(1, 2, 1, 1)[:, :4].permute(0, 2, 3, 1)


class OneSize(nn.Module):
    """A module that takes square images of one size."""

    def forward(self, x):
        assert x.shape[2:] == (64, 64)
        return nn.functional.avg_pool2d(x, 16)


def test_the_order_of_channels_of_your_own_module_is_measured():
    with pytest.raises(InputError, match=r"Nhwc returns \(1, 4, 4, 4\) for output 0, but a map"):
        adapter_of(Nhwc()).stages  # noqa: B018
    (stage,) = adapter_of(OneSize()).stages
    assert (stage.width, stage.stride) == (3, 16)


class Liar(nn.Module):
    """A timm-like model whose maps have another width than stated."""

    feature_info = [dict(num_chs=5, reduction=16, module="body")]

    def forward_intermediates(self, x, indices=None, **kwargs):
        return [nn.functional.avg_pool2d(x, 16) for _ in indices]


def test_a_shape_that_was_not_stated_stops():
    adapter = adapter_of(Liar())
    with pytest.raises(
        InputError, match=r"timm's Liar returns \(1, 3, 4, 6\) for body, but a map \(N, 5, 4, 6\)"
    ):
        adapter.maps(torch.zeros(1, 3, 64, 96))


@pytest.mark.parametrize(
    "name, stages, norm, words",
    [
        (
            "timm-resnet",
            [4],
            "last",
            "has no stage 4: choose one of 0 to 3, whose strides are",
        ),
        ("timm-resnet", [1.5], "last", "has no stage 1.5: choose one of 0 to 3"),
        ("timm-resnet", [0], "all", "norm='all'.*the widths of timm's ResNet"),
        ("mmpretrain-vit", [0], "some", "norm='some': choose one of none, last, all"),
    ],
)
def test_wrong_arguments(name, stages, norm, words):
    family = BY_NAME[name]
    with pytest.raises(InputError, match=words):
        adapter_of(build(family)).maps(images(family), stages, norm=norm)


@pytest.mark.parametrize("name", ["timm-vit", "mmpretrain-vit", "torchvision-vit"])
def test_norms_of_a_transformers_blocks(name):
    family = BY_NAME[name]
    adapter = adapter_of(build(family))
    x = images(family)
    blocks = range(len(adapter.stages))
    none, last, every = (adapter.maps(x, blocks, norm=norm) for norm in ("none", "last", "all"))
    for index in blocks[:-1]:
        assert torch.equal(none[index], last[index])
        assert not torch.allclose(none[index], every[index], atol=1e-2)
    torch.testing.assert_close(last[-1], every[-1])
    assert not torch.allclose(none[-1], last[-1], atol=1e-2)


def test_patches_of_14_pixels_are_padded_and_logged_once(monkeypatch):
    family = BY_NAME["mmpretrain-vit"]
    logged = []
    adapter = adapter_of(build(family, patch_size=14, img_size=56))
    assert adapter.padded(50, 60) == (
        "images of 60x50 pixels are padded to 70x56, whole patches of 14 pixels"
    )
    assert adapter.maps(torch.zeros(1, 3, 50, 60))[0].shape == (1, 24, 4, 5)
    monkeypatch.setattr(
        "bam_mm.models.adapters.contract.print_log", lambda text, **_: logged.append(text)
    )
    for _ in range(2):
        adapter.announce_padding(torch.zeros(1, 3, 50, 60))
    assert len(logged) == 1 and "padded to 70x56" in logged[0]


@pytest.mark.parametrize(
    "norm",
    [
        nn.LayerNorm(6, eps=1e-6),
        timm.layers.LayerNorm2d(6),
        torchvision.models.convnext.LayerNorm2d(6, eps=1e-6),
        mmpretrain.models.utils.LayerNorm2d(6, eps=1e-6),
    ],
    ids=lambda norm: f"{type(norm).__module__.split('.')[0]}-{type(norm).__name__}",
)
def test_a_norm_over_the_channels_of_a_map(norm):
    x = torch.randn(2, 6, 3, 5)
    mean, std = x.mean(dim=1, keepdim=True), x.std(dim=1, keepdim=True, correction=0)
    torch.testing.assert_close(over_channels(norm, x), (x - mean) / std, rtol=1e-4, atol=1e-4)


def test_norms_of_batches_and_groups_take_the_map_as_it_is():
    x = torch.randn(2, 6, 3, 5)
    for norm in (nn.GroupNorm(2, 6), nn.BatchNorm2d(6).eval(), nn.SyncBatchNorm(6).eval()):
        assert torch.equal(over_channels(norm, x), norm(x))
