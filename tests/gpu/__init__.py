"""Tests that need a GPU, on a single one.

Set ``BAM_MM_TEST_DEVICE=cpu`` to run them without a GPU; they then show only that they run.
"""

import os

import pytest
import torch

DEVICE = os.environ.get("BAM_MM_TEST_DEVICE", "cuda")
NEEDS_DEVICE = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        DEVICE == "cuda" and not torch.cuda.is_available(), reason="needs a CUDA device"
    ),
]
