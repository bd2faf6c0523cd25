"""The stand-in against mmcv's compiled operators, where these are installed."""

from importlib import import_module
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec

import pytest
import torch

import bam_mm.ops
from bam_mm.ops import torchvision_ops
from tests.ops.cases import COUNT, backward, difference, forward, nms_case, roi_align_case
from tests.reference.slow_ops import assert_valid_suppression

REASON = bam_mm.ops.reason() if find_spec("mmcv") else "mmcv is not installed"
if REASON:
    pytest.skip(REASON, allow_module_level=True)

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
        ],
    ),
]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-6}  # mmcv rounds spatial_scale to float32


@pytest.fixture(scope="module")
def compiled():
    return import_module("mmcv._ext")


def test_the_extension_is_untouched(compiled):
    assert isinstance(compiled.__loader__, ExtensionFileLoader)
    assert compiled.__spec__.loader is compiled.__loader__
    assert compiled.__spec__.origin == compiled.__file__ and compiled.softnms
    assert import_module("mmcv.ops.nms").ext_module is compiled


@pytest.mark.parametrize("device", DEVICES)
def test_nms(compiled, device):
    # mmcv's operator accepts float32 only. An overlap that rounds differently at the threshold
    # would be a fair difference; these cases hold none.
    for seed in range(COUNT):
        case = nms_case(seed)
        boxes, scores = case.boxes.float().to(device), case.scores.float().to(device)
        arguments = dict(iou_threshold=case.iou_threshold, offset=case.offset)
        expected = compiled.nms(boxes, scores, **arguments).tolist()
        kept = torchvision_ops.nms(boxes, scores, **arguments).tolist()
        if case.tied:
            for each in (kept, expected):
                assert_valid_suppression(each, boxes.tolist(), scores.tolist(), *arguments.values())
        else:
            assert kept == expected, seed


@pytest.mark.parametrize("device", DEVICES)
def test_roi_align(compiled, device):
    # No case has an aligned region of negative size, which mmcv's operator refuses on the CPU.
    for seed in range(COUNT):
        case = roi_align_case(seed)
        names = ("features", "rois", "gradient")
        tensors = {name: getattr(case, name).to(device) for name in names}
        for function in (forward, backward):
            got, expected = (
                function(extension, case, **tensors) for extension in (torchvision_ops, compiled)
            )
            assert got.dtype == expected.dtype
            assert difference(got, expected.double()) < TOLERANCE[got.dtype], seed
