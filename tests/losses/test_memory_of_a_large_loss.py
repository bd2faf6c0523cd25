"""What the loss would take on a GPU at 32,768 rows, 8,192 keys and 4,096 dimensions in bfloat16.

Counted, not measured: fake tensors have shapes and storages, and nothing in them. The allocator's
rounding and what libraries take for themselves are not in it.
"""

from functools import partial

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from bam_mm.losses import bam_loss
from bam_mm.losses.chunked import arrangement
from benchmarks.baselines.materialised_loss import materialised_loss
from benchmarks.counted_memory import CountedMemory, like_a_gpu

VIEWS, GLOBAL, MIB = 8, 2, 2**20


def extra_mib(loss, images, dim, dtype, teacher_views=GLOBAL):
    """Peak of forward and backward pass, the gradient included, and operations."""
    with FakeTensorMode():
        student = torch.empty(VIEWS * images, dim, dtype=dtype).requires_grad_()
        teacher = torch.empty(teacher_views * images, dim, dtype=dtype)
        with CountedMemory(student, teacher) as memory:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                value = loss(student, teacher, num_views=VIEWS, num_global=GLOBAL)
            value.backward()
        assert memory.now >= student.grad.numel() * dtype.itemsize
    return memory.peak / MIB


@pytest.fixture
def on_a_gpu():
    with like_a_gpu():
        yield


def test_counting_by_hand():
    with FakeTensorMode():
        x = torch.empty(MIB // 4)
        with CountedMemory(x) as memory:
            y = x + 1  # 1
            z = (y * 2).view(2, -1)  # 2
            del y  # 1
            z = z.sum(0)  # 1.5, then 0.5
            assert memory.now == MIB // 2 and memory.peak == 2 * MIB
            x.mul_(2)
            assert memory.now == MIB // 2


def test_a_sixth_of_the_matrices_on_a_gpu(on_a_gpu):
    ours, matrices = (
        extra_mib(loss, 4096, 4096, torch.bfloat16) for loss in (bam_loss, materialised_loss)
    )
    # Four matrices of float32 at least: scores, the same masked, and their gradients.
    assert matrices > 4 * (VIEWS * 4096 * GLOBAL * 4096 * 4) / MIB
    assert ours < matrices / 6
    # The gradient twice (formed, then scaled), and little beside it.
    assert ours < 3 * (VIEWS * 4096 * 4096 * 2) / MIB


def test_targets_of_local_views_take_less_than_one_more_chunk(on_a_gpu):
    every = partial(bam_loss, target_views="all")
    all_targets, all_rows = (
        extra_mib(loss, 1024, 4096, torch.bfloat16, VIEWS) for loss in (every, bam_loss)
    )
    assert 0 < all_targets - all_rows < arrangement.BUDGETS["cuda"].chunk / MIB


def test_chunks_not_matrices_on_a_cpu():
    sizes = {
        loss: [extra_mib(loss, images, 512, torch.float32) for images in (1024, 2048)]
        for loss in (bam_loss, materialised_loss)
    }
    (ours, ours_twice), (matrices, matrices_twice) = sizes.values()
    assert ours < matrices / 5
    # Twice the images: the matrices are four times as large, the gradient twice.
    assert matrices_twice > 3.9 * matrices and ours_twice < 2 * ours
