"""Products with rounded factors and float32 sums: where they are taken, what they change."""

from types import SimpleNamespace

import pytest
import torch

from bam_mm.losses import bam_loss
from bam_mm.losses.chunked import loss as attention_matching
from bam_mm.losses.chunked import products
from tests.losses.test_bam_loss import inputs
from tests.losses.test_chunked_loss import small_chunks

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that autocast is on, on a GPU with these properties."""
    properties = SimpleNamespace(autocast=torch.bfloat16, has_bfloat16=True)
    monkeypatch.setattr(products, "HAS_FLOAT32_SUMS", True)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device == "cuda")
    monkeypatch.setattr(torch, "get_autocast_dtype", lambda device: properties.autocast)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda emulated: properties.has_bfloat16 or emulated
    )
    return properties


def test_half_products_are_taken_only_where_they_are_close(gpu):
    assert products.half_type(CUDA, torch.float32, 0.05) is torch.bfloat16
    assert products.half_type(CUDA, torch.float32, 0.01) is None
    assert products.half_type(CUDA, torch.float64, 0.05) is None
    assert products.half_type(CPU, torch.float32, 0.05) is None
    assert products.half_type(CUDA, torch.float32, 0.0) is None  # for others to complain of
    gpu.has_bfloat16 = False
    assert products.half_type(CUDA, torch.float32, 0.05) is None
    gpu.autocast = torch.float16
    assert products.half_type(CUDA, torch.float32, 0.01) is torch.float16
    assert products.half_type(CUDA, torch.float32, 0.001) is None


def test_without_autocast_products_keep_their_precision():
    assert products.half_type(CUDA, torch.float32, 0.05) is None


def loss_and_gradient(student, teacher):
    student = student.clone().requires_grad_()
    loss = bam_loss(student, teacher, num_views=8, num_global=2)
    return loss.item(), *torch.autograd.grad(loss, student)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("teacherless", [False, True])
@pytest.mark.parametrize("dim", [16, 256])
def test_rounded_factors_hardly_change_loss_and_gradient(monkeypatch, dtype, teacherless, dim):
    student, teacher = (x.float() for x in inputs(41, 48, 8, dim))
    teacher = None if teacherless else teacher[:96]
    wanted, slope = loss_and_gradient(student, teacher)
    kinds = set()

    def in_float32(a, b):
        """What the GPU does: products of rounded factors are exact in float32."""
        kinds.update((a.dtype, b.dtype))
        return a.float() @ b.float()

    small_chunks(monkeypatch, 20, keys=96, views=8, size=4, kept=8 * 96 * 25 * 4)
    monkeypatch.setattr(products, "multiply_half", in_float32)
    monkeypatch.setattr(attention_matching, "half_type", lambda *_: dtype)
    value, gradient = loss_and_gradient(student, teacher)
    assert kinds == {dtype}
    assert value == pytest.approx(wanted, rel=2e-3) and value != wanted
    assert (gradient - slope).norm() < 2e-2 * slope.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("teacherless", [False, True])
def test_on_a_gpu(teacherless):
    exact = inputs(42, 256, 8, 128)
    student, teacher = (x.to("cuda", torch.bfloat16) for x in exact)
    teacher = None if teacherless else teacher[:512]
    wanted, slope = loss_and_gradient(
        student.double(), None if teacher is None else teacher.double()
    )
    with torch.autocast("cuda", dtype=torch.bfloat16):
        value, gradient = loss_and_gradient(student, teacher)
    assert value == pytest.approx(wanted, rel=1e-2)
    assert gradient.dtype is torch.bfloat16
    assert (gradient.double() - slope).norm() < 3e-2 * slope.norm()
