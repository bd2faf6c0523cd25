"""The loss: the authors' numbers, a slow reference, invariances, limits, wrong arguments."""

import numpy as np
import pytest
import torch

from bam_mm.losses import balance, bam_loss, match_attention
from tests.reference.slow_bam_loss import slow_bam_loss

# Values of the authors' released loss in float64. Inputs by the recipe in `inputs`.
# kind: rows the teacher has; (seed, B, V, G, D, target temperature, temperature, iterations,
# masked, loss, gradient norm, first gradient entries).
GOLDEN = [
    ("all", 1, 16, 2, 2, 32, 0.05, 0.1, 3, True, 2.871129206354355, 0.144482803790289,
     [0.0009587787803583664, -0.0032068283702163755, -3.245812666164242e-05, 0.004719974094305943]),
    ("all", 2, 16, 8, 2, 32, 0.05, 0.1, 3, True, 2.8888967257894884, 0.06697489956737528,
     [-6.859013904217181e-05, -0.00012675304996584476, -8.64135789977053e-05,
      -0.0007740155452124261]),
    ("global", 2, 16, 8, 2, 32, 0.05, 0.1, 3, True, 2.88026009355589, 0.05956392594063839,
     [9.226107052747796e-07, -0.00015972383886332116, -0.00011626624275960551,
      -0.0006950583387034722]),
    (None, 3, 16, 2, 2, 32, 0.05, 0.1, 3, True, 3.0441923084036984, 0.17744679559824134,
     [0.0019350356292256363, -0.002810018953673567, -0.0036423083413127354, 0.008547021019191267]),
    (None, 4, 12, 8, 2, 24, 0.05, 0.1, 3, True, 2.9286035020879986, 0.18109839992536608,
     [0.0020713871588349314, -0.001272629139526955, -0.0014734125733599918,
      0.0023833128898605154]),
    ("all", 5, 16, 4, 2, 32, 0.02, 0.1, 5, True, 2.529230535794891, 0.11982991849386693,
     [-0.0003864021576615764, 0.001843631748007613, 0.001854170789512032, 0.0004128551066407404]),
    ("all", 6, 16, 4, 2, 32, 0.05, 0.1, 3, False, 0.8700379765113857, 0.046273588780481954,
     [-0.002228542647971927, -0.0005287784961967255, 0.0009741946302946384,
      -4.200190407709699e-05]),
]  # fmt: skip


def inputs(seed, batch, num_views, dim):
    r = np.random.RandomState(seed)
    base = r.randn(batch, dim)
    student = np.tile(base, (num_views, 1)) + 0.7 * r.randn(batch * num_views, dim)
    teacher = np.tile(base, (num_views, 1)) + 0.6 * r.randn(batch * num_views, dim)
    return torch.tensor(student), torch.tensor(teacher)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda c: f"{c[0]}-seed{c[1]}-{c[3]}views")
def test_equals_the_released_loss(case):
    rows, seed, batch, views, glob, dim, cold, warm, iters, masked, value, norm, first = case
    student, teacher = inputs(seed, batch, views, dim)
    student.requires_grad_()
    teacher = {"all": teacher, "global": teacher[: glob * batch], None: None}[rows]
    loss = bam_loss(
        student,
        teacher,
        num_views=views,
        num_global=glob,
        temperature=warm,
        target_temperature=cold,
        sinkhorn_iters=iters,
        mask_positives=masked,
    )
    loss.backward()
    assert loss.item() == pytest.approx(value, abs=1e-10)
    assert student.grad.norm().item() == pytest.approx(norm, abs=1e-10)
    np.testing.assert_allclose(student.grad.flatten()[:4].numpy(), first, atol=1e-10, rtol=0)


@pytest.mark.parametrize("rows", ["global", "all", None])
@pytest.mark.parametrize("views,glob", [(2, 2), (2, 1), (5, 2), (4, 3)])
@pytest.mark.parametrize(
    "iters,masked,top_k", [(3, True, 0), (1, False, 0), (0, True, 0), (2, True, 3)]
)
def test_equals_the_slow_reference(rows, views, glob, iters, masked, top_k):
    student, teacher = inputs(7, 5, views, 6)
    teacher = {"all": teacher, "global": teacher[: glob * 5], None: None}[rows]
    settings = dict(
        num_views=views,
        num_global=glob,
        temperature=0.2,
        target_temperature=0.07,
        sinkhorn_iters=iters,
        mask_positives=masked,
        top_k=top_k,
    )
    slow = slow_bam_loss(
        student.tolist(), None if teacher is None else teacher.tolist(), **settings
    )
    assert bam_loss(student, teacher, **settings).item() == pytest.approx(slow, abs=1e-11)


@pytest.mark.parametrize("teacherless", [False, True])
def test_gradient_is_that_of_finite_differences(teacherless):
    student, teacher = inputs(8, 4, 3, 5)
    teacher = None if teacherless else teacher

    def loss(x):
        # The target has no gradient: hold it fixed while the source moves.
        keys = x if teacher is None else teacher
        return bam_loss(x, keys if teacher is not None else None, num_views=3, num_global=2)

    student.requires_grad_()
    if teacherless:
        # With the target moving too, finite differences see more than the gradient should:
        # compare on a target that is uniform whatever the features are.
        settings = dict(num_views=3, num_global=2, target_temperature=1e9)
        assert torch.autograd.gradcheck(lambda x: bam_loss(x, None, **settings), (student,))
    else:
        assert torch.autograd.gradcheck(loss, (student,))


def test_no_gradient_reaches_the_teacher():
    student, teacher = inputs(9, 6, 2, 8)
    student.requires_grad_()
    teacher.requires_grad_()
    bam_loss(student, teacher, num_views=2, num_global=2).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_permuting_images_and_scaling_features_changes_nothing():
    student, teacher = inputs(10, 9, 4, 8)
    settings = dict(num_views=4, num_global=2)
    expected = bam_loss(student, teacher[:18], **settings)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    rows = torch.cat([order + 9 * v for v in range(4)])
    shuffled = bam_loss(student[rows] * 3.0, teacher[rows][:18] * 0.2, **settings)
    assert shuffled.item() == pytest.approx(expected.item(), abs=1e-12)


def test_all_keys_kept_by_top_k_is_the_average_target():
    student, teacher = inputs(11, 6, 2, 8)
    settings = dict(num_views=2, num_global=2)
    both = bam_loss(student, teacher, top_k=10, **settings)
    averaged = slow_bam_loss(
        student.tolist(), teacher.tolist(), temperature=0.1, target_temperature=0.05,
        sinkhorn_iters=3, top_k=10, **settings,
    )  # fmt: skip
    assert both.item() == pytest.approx(averaged, abs=1e-11)
    assert both.item() != pytest.approx(bam_loss(student, teacher, **settings).item(), abs=1e-6)


def test_loss_of_uniform_features_is_the_logarithm_of_the_keys():
    # All rows equal: attention and target are uniform over 2 * (8 - 1) allowed keys.
    ones = torch.ones(16, 4, dtype=torch.float64)
    loss = bam_loss(ones, ones, num_views=2, num_global=2)
    assert loss.item() == pytest.approx(np.log(14), abs=1e-12)


def test_entropies_of_uniform_attention():
    matching = match_attention(
        torch.ones(16, 4), torch.ones(16, 4), num_views=2, num_global=2, with_entropies=True
    )
    assert matching.attention_entropy.item() == pytest.approx(np.log(14), abs=1e-6)
    assert matching.target_entropy.item() == pytest.approx(np.log(14), abs=1e-6)


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 1e-4), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("teacherless", [False, True])
def test_low_temperatures_stay_finite_and_close_to_float64(dtype, tolerance, teacherless):
    student, teacher = inputs(12, 256, 8, 64)  # 2048 rows
    student, teacher = student.to(dtype), teacher[:512].to(dtype)
    settings = dict(num_views=8, num_global=2, temperature=0.01, target_temperature=0.01)
    exact = bam_loss(student.double(), None if teacherless else teacher.double(), **settings).item()
    student.requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
        loss = bam_loss(student, None if teacherless else teacher, **settings)
    loss.backward()
    assert loss.dtype is torch.float32
    assert student.grad.isfinite().all()
    assert loss.item() == pytest.approx(exact, abs=tolerance, rel=tolerance)


def test_autocast_does_not_reach_the_matrix_products():
    student, teacher = (x.float() for x in inputs(13, 32, 2, 64))
    plain = bam_loss(student, teacher, num_views=2, num_global=2, temperature=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = bam_loss(student, teacher, num_views=2, num_global=2, temperature=0.01)
    assert cast.item() == plain.item()


def test_balanced_attention_has_equal_columns():
    scores = torch.randn(40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plan = balance(scores / 0.2, 200)
    torch.testing.assert_close(plan.sum(dim=0), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(plan.sum(dim=1), torch.ones(40, dtype=torch.float64))
    assert balance(scores / 0.2, 0).sum(dim=0).std() > 0.1


@pytest.mark.parametrize(
    "change,words",
    [
        (dict(student=torch.randn(7, 4)), "7, 4"),
        (dict(teacher=torch.randn(6, 4)), "8 rows"),
        (dict(teacher=torch.randn(8, 5)), "5"),
        (dict(num_global=3), "num_global=3"),
        (dict(target_temperature=0.0), "target_temperature=0.0"),
        (dict(top_k=7), "top_k=7"),
    ],
)
def test_wrong_arguments_are_named(change, words):
    arguments = dict(
        student=torch.randn(8, 4), teacher=torch.randn(8, 4), num_views=2, num_global=2
    )
    with pytest.raises(ValueError, match=words):
        bam_loss(**{**arguments, **change})


def test_a_single_image_has_nothing_to_attend_to():
    with pytest.raises(ValueError, match="a batch of 1 image"):
        bam_loss(torch.randn(2, 4), torch.randn(2, 4), num_views=2, num_global=2)
