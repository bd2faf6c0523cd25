"""Blur of a batch: exact Gaussians, separate for each image, in both implementations."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bam_mm.data.photometric.on_device import _blur_by_convolution, _blur_on_cpu, blur_

SIGMA = np.array([0.0, 0.3, 1.0, 2.0, 0.0, 1.37])


def images(height=40, width=31):
    return torch.rand(6, 3, height, width, generator=torch.Generator().manual_seed(0)) * 255


@pytest.mark.parametrize("blur", [_blur_on_cpu, _blur_by_convolution])
def test_each_image_has_its_own_gaussian(blur):
    batch = images()
    rows = np.flatnonzero(SIGMA)
    out = blur(batch.clone(), rows, SIGMA[rows])
    for image, result, sigma in zip(batch, out, SIGMA, strict=True):
        # Both truncate the kernel; at 8 standard deviations nothing is lost.
        wanted = gaussian_filter(
            image.double().numpy(), (0, sigma, sigma), mode="nearest", truncate=8
        )
        assert np.abs(result.numpy() - wanted).max() < 1.0
        assert np.abs(result.numpy() - wanted).mean() < 0.15


def test_it_works_in_place_and_keeps_images_without_blur():
    batch = images()
    blurred = batch.clone()
    assert blur_(blurred, SIGMA) is blurred
    changed = [not torch.equal(a, b) for a, b in zip(batch, blurred, strict=True)]
    assert changed == (SIGMA > 0).tolist()
    untouched = batch.clone()
    assert torch.equal(blur_(untouched, np.zeros(6)), batch)


@pytest.mark.parametrize("blur", [_blur_on_cpu, _blur_by_convolution])
def test_a_constant_stays_constant_even_if_the_kernel_is_wider_than_the_image(blur):
    flat = torch.full((1, 3, 5, 9), 77.0)
    torch.testing.assert_close(blur(flat.clone(), np.array([0]), np.array([2.0])), flat)
