"""The last neck of a detector: float32 maps in the memory order that RoIAlign reads."""

import pytest
import torch

from bam_mm.models import ToFloat32


def maps(dtype, memory_format):
    torch.manual_seed(0)
    sizes = ((2, 3, 4, 5), (2, 3, 2, 3))
    return tuple(torch.randn(size).to(dtype, memory_format=memory_format) for size in sizes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_maps_become_contiguous(dtype):
    given = maps(dtype, torch.channels_last)
    assert not any(x.is_contiguous() for x in given)
    for before, after in zip(given, ToFloat32()(given), strict=True):
        assert after.dtype is torch.float32 and after.is_contiguous()
        assert after.equal(before.float())
        # What a kernel reads that ignores the strides.
        assert after.as_strided((after.numel(),), (1,)).equal(before.float().reshape(-1))


def test_contiguous_float32_maps_are_not_copied():
    given = maps(torch.float32, torch.contiguous_format)
    assert all(a.data_ptr() == b.data_ptr() for a, b in zip(given, ToFloat32()(given), strict=True))


def test_the_gradient_passes_unchanged():
    given = [x.requires_grad_() for x in maps(torch.float32, torch.channels_last)]
    weights = [torch.randn(x.shape) for x in given]
    found = ToFloat32()(tuple(given))
    sum((w * x).sum() for w, x in zip(weights, found, strict=True)).backward()
    for x, weight in zip(given, weights, strict=True):
        assert x.grad is not None and x.grad.equal(weight)
