"""Parts of a training step, measured alone because the whole step hides their cost."""

import copy
from collections.abc import Callable

import torch
from mmpretrain.engine.optimizers import LARS as OneByOneLARS
from torch import Tensor

from bam_mm.optim import LARS
from bam_mm.suite.pretraining_methods import MOMENTUM
from benchmarks.baselines.plain_training_step import ema_by_loop, materialised_attention
from benchmarks.measuring import alternate
from benchmarks.model_flops import synchronize
from benchmarks.training_step_variants import Bench, teacher_and_student


def compare_parts(bench: Bench, runs: int = 7) -> tuple[dict[str, float], dict[str, float]]:
    """Print time and difference of EMA, optimizers and attention; return ratios and figures."""
    ratios, figures = {}, {}
    for name, (ours, plain, difference) in {
        "ema alone": _ema(bench),
        "adamw alone": _adamw(bench, one_group=True),
        "adamw alone, a group a tensor": _adamw(bench, one_group=False),
        **({"lars alone": _lars(bench)} if bench.convolutions else {}),
        **({} if bench.convolutions else {"attention alone": _attention(bench)}),
    }.items():
        fast, slow, ratio = alternate(ours, plain, runs)
        print(
            f"{name}: ours {1e3 * fast:.1f} ms, plain {1e3 * slow:.1f} ms, ratio {ratio:.2f}, "
            f"largest difference {difference:.0e}"
        )
        ratios[f"{name}: time"] = ratio
        figures[f"{name}, ms"] = 1e3 * fast
    return ratios, figures


def _ema(bench: Bench):
    model = bench.model("ours")
    teacher, student = teacher_and_student(model)
    student = [p + 0.01 * torch.randn_like(p) for p in student]
    copies = [[t.detach().clone() for t in teacher] for _ in range(2)]

    def ours() -> None:
        torch._foreach_lerp_(copies[0], student, 1.0 - MOMENTUM)
        synchronize(bench.device)

    def plain() -> None:
        ema_by_loop(copies[1], student, MOMENTUM)
        synchronize(bench.device)

    ours(), plain()
    return ours, plain, _largest(*copies)


def _adamw(bench: Bench, one_group: bool):
    """Compare fused AdamW with a loop over tensors, or with fused AdamW with one group per tensor.

    mmengine's constructor creates one group per tensor for a config with ``paramwise_cfg``.
    """

    def make(parameters: list[Tensor], ours: bool) -> torch.optim.Optimizer:
        groups = parameters if ours or one_group else [{"params": [p]} for p in parameters]
        fused = ours or not one_group
        return torch.optim.AdamW(groups, lr=1e-4, weight_decay=0.04, fused=fused, foreach=False)

    return _optimizers(bench, make)


def _lars(bench: Bench):
    """Compare LARS that leaves the norms on the device with that of mmpretrain."""

    def make(parameters: list[Tensor], ours: bool) -> torch.optim.Optimizer:
        plain = [p for p in parameters if p.ndim == 1]
        scaled = [p for p in parameters if p.ndim > 1]
        groups = [{"params": scaled}, {"params": plain, "weight_decay": 0.0, "lars_exclude": True}]
        kind = LARS if ours else OneByOneLARS
        return kind(groups, lr=0.3, momentum=0.9, weight_decay=1e-6)

    return _optimizers(bench, make)


def _optimizers(bench: Bench, make: Callable[[list[Tensor], bool], torch.optim.Optimizer]):
    trained = [p.detach() for p in bench.model("ours").parameters() if p.requires_grad]
    gradients = [1e-3 * torch.randn_like(p) for p in trained]
    copies = [copy.deepcopy(trained) for _ in range(2)]

    def steps(parameters: list[Tensor], ours: bool) -> Callable[[], None]:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer = make(parameters, ours)

        def step() -> None:
            optimizer.step()
            synchronize(bench.device)

        return step

    ours, plain = steps(copies[0], True), steps(copies[1], False)
    ours(), plain()
    return ours, plain, _largest(*copies)


def _attention(bench: Bench):
    """Compare forward and backward pass of one block's attention on the global views."""
    attention = bench.model("ours").backbone.layers[0].attn
    tokens = (bench.views.global_size // bench.patch_size) ** 2 + 1
    shape = (bench.views.num_global * bench.batch, attention.num_heads, tokens, attention.head_dims)
    inputs = [
        torch.randn(shape, device=bench.device, dtype=bench.dtype, requires_grad=True)
        for _ in range(3)
    ]
    weight = torch.randn(shape, device=bench.device, dtype=bench.dtype)

    def gradients(function) -> list[Tensor]:
        out = torch.autograd.grad((function(*inputs) * weight).sum(), inputs)
        synchronize(bench.device)
        return list(out)

    fused = torch.nn.functional.scaled_dot_product_attention
    found = _largest(gradients(fused), gradients(materialised_attention))
    return lambda: gradients(fused), lambda: gradients(materialised_attention), found


def _largest(ours: list[Tensor], plain: list[Tensor]) -> float:
    pairs = zip(ours, plain, strict=True)
    return max((a.float() - b.float()).abs().max().item() for a, b in pairs)
