"""mmcv's own functions and layers, on the stand-in of its extension."""

from importlib import import_module

import pytest
import torch

import bam_mm.ops
from bam_mm.errors import InputError
from bam_mm.ops import torchvision_ops
from tests.ops.cases import COUNT, backward, difference, forward, nms_case, roi_align_case
from tests.reference.slow_ops import slow_nms


@pytest.fixture(autouse=True)
def stand_in(monkeypatch):
    """Put the stand-in below mmcv's functions, also where mmcv's operators are compiled."""
    import mmcv.ops

    # mmcv.ops.nms is the function of that name; its module is reached by import_module alone.
    for name in ("nms", "roi_align"):
        module = import_module(f"mmcv.ops.{name}")
        monkeypatch.setattr(module, "ext_module", torchvision_ops)
    return mmcv.ops


def test_nms(stand_in):
    for seed in range(COUNT):
        case = nms_case(seed)
        if case.tied:
            continue
        arguments = (case.boxes, case.scores, case.iou_threshold, case.offset)
        dets, kept = stand_in.nms(*arguments)
        expected = slow_nms(case.boxes.tolist(), case.scores.tolist(), *arguments[2:])
        assert kept.tolist() == expected
        assert torch.equal(dets, torch.cat([case.boxes, case.scores[:, None]], dim=1)[expected])
        _, best = stand_in.nms(*arguments, score_threshold=0.2, max_num=3)
        above = [i for i in expected if case.scores[i] > 0.2]
        assert best.tolist() == above[:3]


@pytest.mark.parametrize("split", [10000, 1])
def test_batched_nms_keeps_classes_apart(stand_in, split):
    cases = [case for case in map(nms_case, range(1, COUNT, 3)) if not case.tied]
    case = max(cases, key=lambda case: len(case.boxes))
    classes = torch.arange(len(case.boxes)) % 3
    settings = dict(type="nms", iou_threshold=0.3, split_thr=split)
    boxes, scores = case.boxes.double(), case.scores.double()
    dets, kept = stand_in.batched_nms(boxes, scores, classes, settings)
    expected = []
    for number in range(3):
        of_class = (classes == number).nonzero().flatten()
        found = slow_nms(boxes[of_class].tolist(), scores[of_class].tolist(), 0.3, 0)
        expected += of_class[found].tolist()
    assert kept.tolist() == sorted(expected, key=lambda i: -scores[i].item())
    assert torch.equal(dets[:, :4], boxes[kept]) and 3 < len(kept) < len(boxes)


def test_roi_align_layer_and_its_gradient(stand_in):
    for seed in range(0, COUNT, 4):
        case = roi_align_case(seed)
        size, scale, ratio, aligned = case.settings
        layer = stand_in.RoIAlign(size, scale, ratio, aligned=aligned)
        features = case.features.contiguous(memory_format=torch.channels_last).requires_grad_()
        output = layer(features, case.rois)
        assert torch.equal(output, forward(torchvision_ops, case))
        (gradient,) = torch.autograd.grad(output, features, case.gradient)
        assert torch.equal(gradient, backward(torchvision_ops, case))


def test_numerical_gradient(stand_in):
    case = roi_align_case(3)
    features = case.features.double().requires_grad_()
    size, scale, ratio, aligned = case.settings

    def pooled(values):
        return stand_in.roi_align(values, case.rois.double(), size, scale, ratio, "avg", aligned)

    assert torch.autograd.gradcheck(pooled, features)


def test_under_autocast(stand_in):
    layer = stand_in.RoIAlign((2, 2), 1.0, 2)
    features = torch.randn(2, 3, 8, 8, requires_grad=True)
    rois = torch.tensor([[0.0, 1, 1, 6, 6], [1, 0, 2, 7, 5]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = layer(features.bfloat16(), rois)
    output.float().square().sum().backward()
    assert output.dtype == torch.bfloat16
    assert difference(output, layer(features, rois).detach()) < 2**-7
    assert features.grad.abs().sum() > 0


def test_maximum_pooling_and_soft_nms_are_errors(stand_in):
    case = roi_align_case(3)
    with pytest.raises(InputError, match="pool_mode='max'"):
        stand_in.RoIAlign((2, 2), pool_mode="max")(case.features, case.rois)
    boxes = nms_case(3)
    with pytest.raises(InputError, match="'softnms'"):
        stand_in.soft_nms(boxes.boxes, boxes.scores)


def test_the_backend_in_use():
    import mmcv._ext as extension

    if bam_mm.ops.backend() == "mmcv":
        assert bam_mm.ops.reason() == "" and extension.__file__
    else:
        assert extension.nms is torchvision_ops.nms and "mmcv" in bam_mm.ops.reason()
        assert extension.get_compiling_cuda_version().startswith("not compiled")
        assert extension.get_compiler_version().startswith("not compiled")
