"""Tests of the training step benchmark: its baselines, and its counts of operations and tokens."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.baselines.plain_training_step import ema_by_loop, materialised_attention
from benchmarks.model_flops import count_flops
from benchmarks.training_step_variants import NAMES, Bench, teacher_and_student, variants_of

pytestmark = pytest.mark.slow

CROPS = ["2x48", "2x24"]


@pytest.fixture(scope="module")
def bench():
    return Bench("vit-toy-p8", 6, CROPS, "cpu")


def test_materialised_attention_equals_that_of_torch():
    query, key, value = torch.randn(3, 2, 4, 7, 8, dtype=torch.float64).unbind()
    wanted = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(materialised_attention(query, key, value), wanted)
    with pytest.raises(ValueError, match=r"dropout_p=0\.1"):
        materialised_attention(query, key, value, 0.1)


def test_loop_over_tensors_equals_the_teacher_update(bench):
    model = bench.model("ours")
    teacher, student = teacher_and_student(model)
    with torch.no_grad():
        for parameter in student:
            parameter.add_(0.1 * torch.randn_like(parameter))
    copies = [tensor.detach().clone() for tensor in teacher]
    ema_by_loop(copies, student, 0.9)
    model.update_teacher(0.9)
    for updated, wanted in zip(teacher, copies, strict=True):
        torch.testing.assert_close(updated.detach(), wanted, atol=1e-6, rtol=1e-6)


def test_variants_do_not_change_loss_and_model(bench):
    model = bench.model("ours")
    losses = {float(part.rsplit(" ", 1)[1]) for part in bench.check().split(", ")}
    assert max(losses) - min(losses) < 1e-5
    for name in ("teacher with a graph", "teacher on all views"):
        bench.step_of(name)()
        assert model.teacher_views == "global" and "_target" not in vars(model)
        assert not any(p.requires_grad or p.grad is not None for p in model.teacher.parameters())
    assert "channels first" in variants_of("resnet50")
    assert set(variants_of("vit-small-p16")) == set(NAMES) - {"channels first"}


def test_operations_equal_a_manual_count():
    layer, x = torch.nn.Linear(5, 7, bias=False), torch.randn(11, 5, requires_grad=True)
    # One product forward and two backward; a multiplication and an addition count as two.
    assert count_flops(lambda: layer(x).sum().backward()) == 3 * 2 * 11 * 5 * 7
    inputs = torch.randn(3, 2, 4, 9, 8).unbind()
    assert count_flops(lambda: materialised_attention(*inputs)) == 2 * 2 * (2 * 4 * 9 * 9 * 8)


def test_operations_of_a_large_batch_are_extrapolated_from_small_ones(bench):
    assert bench.flops("ours") == bench._flops("ours", 6)
    # Forward pass of the teacher on two more views of 24 px: 9 patches and [CLS], width 96.
    tokens, width, blocks, images = 10, 96, 4, 2 * 4
    block = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    patches, hidden = 2 * 9 * (3 * 8 * 8) * width, 4096
    neck = 2 * (width * hidden + 2 * hidden**2)
    more = bench._flops("teacher on all views", 4) - bench._flops("ours", 4)
    assert more == pytest.approx(images * (patches + blocks * block + neck), rel=0.02)


def test_tokens_equal_a_manual_count(bench):
    assert bench.tokens("ours") == 6 * (2 * 37 + 2 * 10)
    assert bench.tokens("mocov3") == 6 * 2 * 37
