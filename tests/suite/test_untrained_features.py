"""Untrained image features on small images with known results."""

import pytest
import torch

from bam_mm.suite.untrained_features import colour_histogram, raw_pixels


def test_colour_histogram_of_known_pixels():
    image = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    image[0, :, 0, 0] = 255  # One white pixel, three black ones.
    histogram = colour_histogram(image, bins=2)
    assert histogram.shape == (1, 8)
    assert histogram[0, 0].item() == pytest.approx(0.75**0.5)
    assert histogram[0, 7].item() == pytest.approx(0.5)
    assert raw_pixels(image).sum().item() == pytest.approx(0.0, abs=1e-3)
