"""The stand-in of ``mmcv._ext``: numbers, types, memory layouts and errors."""

import pytest
import torch

from bam_mm.errors import InputError
from bam_mm.ops import torchvision_ops
from tests.ops.cases import COUNT, backward, difference, forward, nms_case, roi_align_case
from tests.reference.slow_ops import (
    assert_valid_suppression,
    slow_nms,
    slow_roi_align,
    slow_roi_align_gradient,
)

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-12}
HALF_TYPES = (torch.float16, torch.bfloat16)


def array(tensor):
    return tensor.numpy()


def call_nms(case):
    return torchvision_ops.nms(case.boxes, case.scores, case.iou_threshold, case.offset).tolist()


@pytest.mark.parametrize("seed", range(COUNT))
def test_nms_equals_the_slow_one(seed):
    case = nms_case(seed)
    kept, boxes, scores = call_nms(case), case.boxes.tolist(), case.scores.tolist()
    assert_valid_suppression(kept, boxes, scores, case.iou_threshold, case.offset)
    if not case.tied:
        assert kept == slow_nms(boxes, scores, case.iou_threshold, case.offset)


@pytest.mark.parametrize("seed", range(COUNT))
def test_roi_align_equals_the_slow_one(seed):
    case = roi_align_case(seed)
    output, gradient = forward(torchvision_ops, case), backward(torchvision_ops, case)
    assert output.dtype == case.features.dtype
    for got, slow, given in (
        (output, slow_roi_align, [array(case.features)]),
        (gradient, slow_roi_align_gradient, [array(case.gradient), case.features.shape]),
    ):
        expected = slow(*given, array(case.rois), *case.settings)
        assert difference(got, expected) < TOLERANCE[output.dtype]


def test_the_cases_hold_what_they_should():
    boxes = [nms_case(seed) for seed in range(COUNT)]
    assert sum(case.tied for case in boxes) > 30
    assert sum(len(case.boxes) == 0 for case in boxes) == 10
    suppressed = sum(len(case.boxes) - len(call_nms(case)) for case in boxes)
    assert suppressed > 0.2 * sum(len(case.boxes) for case in boxes)
    regions = [roi_align_case(seed) for seed in range(COUNT)]
    sizes = torch.cat([case.rois[:, 3:] - case.rois[:, 1:3] for case in regions])
    assert (sizes < 0).sum() > 100 and (sizes == 0).sum() > 50
    settings = {(case.sampling_ratio, case.aligned, case.features.dtype) for case in regions}
    assert len(settings) == 12
    outputs = torch.cat([forward(torchvision_ops, case).flatten() for case in regions])
    assert 0.05 < (outputs == 0).float().mean() < 0.6  # many samples lie outside, most do not


def test_nms_by_hand():
    # Widths with offset 0: 10 and 10, 3 in common with 17 in the union. With offset 1 the overlap
    # is 4 x 11 of 2 x 121 - 44 = 198.
    boxes = torch.tensor([[0.0, 0, 10, 10], [7, 0, 17, 10]])
    scores = torch.tensor([0.1, 0.9])
    for offset, ratio in ((0, 3 / 17), (1, 44 / 198)):
        assert torchvision_ops.nms(boxes, scores, ratio + 1e-3, offset).tolist() == [1, 0]
        assert torchvision_ops.nms(boxes, scores, ratio - 1e-3, offset).tolist() == [1]


@pytest.mark.parametrize("tenths", range(1, 10))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_overlap_equal_to_the_threshold_is_kept(tenths, dtype):
    # 0.3 and other tenths are larger in float32 than in float64.
    boxes = torch.tensor([[0, 0, 10, 1], [0, 0, tenths, 1]], dtype=dtype)
    scores = torch.tensor([0.9, 0.8], dtype=dtype)
    assert torchvision_ops.nms(boxes, scores, tenths / 10, 0).tolist() == [0, 1]
    assert torchvision_ops.nms(boxes, scores, tenths / 10 - 1e-4, 0).tolist() == [0]


def test_roi_align_by_hand():
    # A ramp along x. The bins are centred at x = 1 and 3; with half a pixel's shift at 0.5 and 2.5.
    # The second region leaves the image: its samples at 7 and 9 read the last pixel and nothing.
    case = roi_align_case(1)
    case.features = torch.arange(8.0).expand(1, 1, 8, 8)
    case.rois = torch.tensor([[0.0, 0, 0, 4, 4], [0, 6, 0, 10, 4]])
    case.output_size, case.spatial_scale, case.sampling_ratio = (2, 2), 1.0, 1
    for case.aligned, expected in ((False, [[1, 3], [7, 0]]), (True, [[0.5, 2.5], [6.5, 0]])):
        assert forward(torchvision_ops, case)[:, 0, 0].tolist() == expected


@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_half_types_are_computed_in_float32(dtype):
    for seed in range(40):
        case = nms_case(seed)
        case.boxes, case.scores = case.boxes.to(dtype), case.scores.to(dtype)
        kept = call_nms(case)
        case.boxes, case.scores = case.boxes.float(), case.scores.float()
        assert kept == call_nms(case)
        case = roi_align_case(seed)
        half = {name: getattr(case, name).to(dtype) for name in ("features", "rois", "gradient")}
        full = {name: tensor.float() for name, tensor in half.items()}
        output = forward(torchvision_ops, case, **half)
        assert output.dtype == dtype
        assert torch.equal(output, forward(torchvision_ops, case, **full).to(dtype))
        # Regions stay in float32 where a network under autocast returns half features.
        mixed = {**half, "rois": full["rois"]}
        assert torch.equal(output, forward(torchvision_ops, case, **mixed))
        gradient = backward(torchvision_ops, case, **half)
        assert torch.equal(gradient, backward(torchvision_ops, case, **full).to(dtype))


def test_memory_layout_does_not_matter():
    found = 0
    for seed in range(COUNT):
        case = roi_align_case(seed)
        features = case.features.contiguous(memory_format=torch.channels_last)
        gradient = case.gradient.transpose(2, 3).contiguous().transpose(2, 3)
        rois = case.rois.T.contiguous().T
        found += not (features.is_contiguous() or gradient.is_contiguous() or rois.is_contiguous())
        output = forward(torchvision_ops, case, features=features, rois=rois)
        assert torch.equal(output, forward(torchvision_ops, case))
        scattered = backward(torchvision_ops, case, gradient=gradient, rois=rois)
        assert torch.equal(scattered, backward(torchvision_ops, case))
    assert found > 50


def test_an_expanded_gradient():
    case = next(c for c in map(roi_align_case, range(COUNT)) if c.gradient.numel() > 20)
    gradient = torch.tensor(0.5, dtype=case.gradient.dtype).expand(case.gradient.shape)
    expected = backward(torchvision_ops, case, gradient=gradient.contiguous())
    assert torch.equal(backward(torchvision_ops, case, gradient=gradient), expected)


def test_empty_regions_of_negative_size_are_zero():
    case = roi_align_case(1)
    case.features = torch.ones(1, 2, 9, 9, dtype=torch.float64)
    case.rois = torch.tensor([[0.0, 7, 1, 1, 8], [0, 8, 8, 1, 1], [0, 1, 1, 8, 8]]).double()
    case.gradient = torch.ones(3, 2, 2, 2, dtype=torch.float64)
    case.output_size, case.spatial_scale = (2, 2), 1.0
    case.sampling_ratio, case.aligned = 0, True
    output = forward(torchvision_ops, case)
    assert not output[:2].any() and (output[2] == 1).all()
    assert backward(torchvision_ops, case).sum().item() == pytest.approx(8)


def test_regions_that_torchvision_would_read_from_foreign_memory():
    case = roi_align_case(1)
    images = len(case.features)
    for index in (images, -1, 1e6):
        rois = case.rois.clone()
        rois[-1, 0] = index
        with pytest.raises(InputError, match=f"batch index {int(index)}, .* {images} image"):
            forward(torchvision_ops, case, rois=rois)
        with pytest.raises(InputError, match="batch index"):
            backward(torchvision_ops, case, rois=rois)
    for value in (float("nan"), float("inf")):
        rois = case.rois.clone()
        rois[0, 2] = value
        with pytest.raises(InputError, match="not finite"):
            forward(torchvision_ops, case, rois=rois)


def test_what_torchvision_lacks_is_an_error_at_its_use():
    softnms = torchvision_ops.softnms
    for call in (lambda: softnms(1, dets=2), lambda: torchvision_ops.carafe_forward()):
        with pytest.raises(
            InputError, match=r"MMCV_WITH_OPS=1 pip install .* (onedl-)?mmcv==[0-9.]+` "
        ):
            call()
    with pytest.raises(InputError, match="'softnms' needs mmcv's compiled operators"):
        softnms()
    assert not hasattr(torchvision_ops, "__wrapped__") and not hasattr(torchvision_ops, "_hidden")
    none = torch.zeros(0)
    for function in (torchvision_ops.roi_align_forward, torchvision_ops.roi_align_backward):
        with pytest.raises(InputError, match="pool_mode='max' needs mmcv's compiled operators"):
            function(none, none, none, none, none, 2, 2, 1.0, 0, 0, True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, *HALF_TYPES])
def test_cuda_equals_the_cpu(dtype):
    # One step of a half type is 2**-8 (bfloat16) or 2**-11 of the value.
    tolerance = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
    for seed in range(COUNT):
        case = nms_case(seed)
        boxes, scores = case.boxes.to(dtype), case.scores.to(dtype)
        kept = torchvision_ops.nms(
            boxes.cuda(), scores.cuda(), case.iou_threshold, case.offset
        ).tolist()
        lists = boxes.double().tolist(), scores.double().tolist()
        assert_valid_suppression(kept, *lists, case.iou_threshold, case.offset)
        case = roi_align_case(seed)
        names = ("features", "rois", "gradient")
        cpu = {name: getattr(case, name).to(dtype) for name in names}
        cuda = {name: tensor.cuda() for name, tensor in cpu.items()}
        for function in (forward, backward):
            got, expected = (function(torchvision_ops, case, **each) for each in (cuda, cpu))
            assert got.is_cuda and got.dtype == dtype
            assert difference(got, expected.double()) < tolerance
