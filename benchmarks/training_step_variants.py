"""Variants of one training step: ours, MoCo v3, and ours without one of its optimisations."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from mmpretrain.models.utils import MultiheadAttention
from torch import nn

from bam_mm.checkpoint.sources import ARCHITECTURES
from bam_mm.models.compilation import compile_blocks
from bam_mm.suite.pretraining_methods import MOMENTUM, Views, build_method, make_views
from benchmarks.baselines.plain_training_step import (
    TeacherWithGraph,
    ema_by_loop,
    materialised_attention,
)
from benchmarks.measuring import extra_memory
from benchmarks.model_flops import count_flops, synchronize

NAMES = (
    "ours",
    "mocov3",
    "teacher on all views",
    "teacher with a graph",
    "ema by loop",
    "adamw by loop",
    "a group a tensor",
    "attention materialised",
    "channels first",
    "compiled",
)


def variants_of(backbone: str) -> list[str]:
    """Return the names of the variants that apply to a backbone."""
    convolutions = not backbone.startswith("vit")
    left_out = "attention materialised" if convolutions else "channels first"
    return [name for name in NAMES if name != left_out]


class Bench:
    """Models, optimizers and views that the steps of all variants share.

    Args:
        backbone: Key of ``bam_mm.checkpoint.sources.ARCHITECTURES``.
        batch: Number of images per step.
        crops: Number and side of the crops, such as ``["2x224", "6x96"]``.
        device: Device of the model, ``cpu`` or ``cuda``.
        float32: Whether to run the forward pass in float32 on a GPU, too.
    """

    def __init__(
        self, backbone: str, batch: int, crops: list[str], device: str, float32: bool = False
    ) -> None:
        torch.manual_seed(0)
        gpu = device == "cuda"
        self.device = device
        self.device_name = torch.cuda.get_device_name() if gpu else "CPU"
        self.dtype = torch.bfloat16 if gpu and not float32 else torch.float32
        self.backbone, self.batch, self.views = backbone, batch, Views.of(crops)
        self.convolutions = not backbone.startswith("vit")
        self.models: dict[str, nn.Module] = {}
        self.optimizers: dict[tuple[int, str], torch.optim.Optimizer] = {}
        self.drawn = {
            method: make_views(method, self.views, batch, self.device)
            for method in ("bam", "mocov3")
        }

    def model(self, name: str) -> nn.Module:
        """Return the model that a variant trains; it is built at the first call."""
        key = name if name in ("mocov3", "channels first", "compiled") else "ours"
        if key not in self.models:
            method = "mocov3" if name == "mocov3" else "bam"
            model = build_method(method, self.backbone, self.views).to(self.device).train()
            if self.convolutions and name != "channels first":
                model.to(memory_format=torch.channels_last)
            if name == "compiled":
                for branch in ("student", "teacher"):
                    compile_blocks(model.branch(branch))
            self.models[key] = model
        return self.models[key]

    def optimizer(self, name: str) -> torch.optim.Optimizer:
        """Return fused AdamW with one group, except for the variants that test another one."""
        model = self.model(name)
        kind = name if name in ("adamw by loop", "a group a tensor") else "fused"
        key = (id(model), kind)
        if key not in self.optimizers:
            trained = [p for p in model.parameters() if p.requires_grad]
            groups = [{"params": [p]} for p in trained] if kind == "a group a tensor" else trained
            self.optimizers[key] = torch.optim.AdamW(
                groups, lr=1e-4, weight_decay=0.04, fused=kind != "adamw by loop", foreach=False
            )
        return self.optimizers[key]

    @property
    def patch_size(self) -> int:
        """Patch size of a transformer in pixels."""
        return ARCHITECTURES[self.backbone]["patch_size"]

    def tokens(self, name: str) -> int:
        """Count the tokens of the trained network in a step: patches and [CLS], or pixels / 32²."""
        sides = self.views.sides("mocov3" if name == "mocov3" else "bam")
        patch, extra = (32, 0) if self.convolutions else (self.patch_size, 1)
        return self.batch * sum((side // patch) ** 2 + extra for side in sides)

    def step_of(self, name: str, batch: int | None = None) -> Callable[[], None]:
        """Return a function that runs one step of a variant."""
        model, optimizer = self.model(name), self.optimizer(name)
        views = self.drawn["mocov3" if name == "mocov3" else "bam"]
        inputs = [view[: batch or self.batch] for view in views]

        def step() -> None:
            with _variant(name, model, self.views.num_global):
                with torch.autocast(
                    self.device, torch.bfloat16, enabled=self.dtype != torch.float32
                ):
                    loss = sum(v for k, v in model.loss(inputs, []).items() if "loss" in k)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if name != "mocov3":  # MoCo v3 updates its momentum encoder in the loss.
                    move_teacher(name, model)
            synchronize(self.device)

        return step

    def flops(self, name: str) -> int:
        """Return the number of operations in a variant's step.

        To save memory, the operations of a large batch are extrapolated from two small ones: the
        network grows linearly with the batch, and the loss, which compares all images, with its
        square.
        """
        if self.batch <= 4:
            return self._flops(name, self.batch)
        two, four = self._flops(name, 2), self._flops(name, 4)
        self.step_of(name)()  # The first step of this size must not be timed.
        square = (four / 4 - two / 2) / 2
        return round(self.batch * (two / 2 - 2 * square) + self.batch**2 * square)

    def _flops(self, name: str, batch: int) -> int:
        # The compiled step has the same operations as ours, but they cannot be counted.
        name = "ours" if name == "compiled" else name
        with attention_by(self.model(name), materialised_attention):
            return count_flops(self.step_of(name, batch))

    def check(self) -> str:
        """Return the loss of each variant that must not change it, before any step."""
        losses = {}
        for name in ("ours", "teacher with a graph", "attention materialised"):
            model = self.model(name)
            with torch.no_grad(), _variant(name, model, self.views.num_global):
                losses[name] = model.loss(self.drawn["bam"], [])["loss"].item()
        return ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items())


def extra_mib(name: str, bench: Bench) -> float:
    """Return the extra MiB of a variant's step, after one that creates optimizer state."""
    if not bench.optimizer(name).state:
        bench.step_of(name, batch=2)()
    step = bench.step_of(name)
    if bench.device == "cpu":
        return extra_memory(step)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def teacher_and_student(model: nn.Module) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the parameters of teacher and student in the same order."""
    student = [*model.backbone.parameters(), *model.neck.parameters()]
    return list(model.teacher.parameters()), [p.detach() for p in student]


def move_teacher(name: str, model: nn.Module) -> None:
    """Update the teacher in the way of the variant."""
    if name == "ema by loop":
        ema_by_loop(*teacher_and_student(model), MOMENTUM)
    else:
        model.update_teacher(MOMENTUM)


@contextmanager
def attention_by(model: nn.Module, function: Callable) -> Iterator[None]:
    """Replace torch's fused attention in mmpretrain's attention modules by another function."""
    modules = [m for m in model.modules() if isinstance(m, MultiheadAttention)]
    before = [module.scaled_dot_product_attention for module in modules]
    for module in modules:
        module.scaled_dot_product_attention = function
    try:
        yield
    finally:
        for module, fused in zip(modules, before, strict=True):
            module.scaled_dot_product_attention = fused


@contextmanager
def _variant(name: str, model: nn.Module, num_global: int) -> Iterator[None]:
    if name == "attention materialised":
        with attention_by(model, materialised_attention):
            yield
    elif name == "teacher on all views":
        model.teacher_views = "all"
        yield
        model.teacher_views = "global"
    elif name == "teacher with a graph":
        trained = [p for p in model.teacher.parameters() if p.dtype.is_floating_point]
        model._target = TeacherWithGraph(model.teacher.requires_grad_(True), num_global)
        yield
        del model._target
        model.teacher.requires_grad_(False)
        assert all(p.grad is None for p in trained)
    else:
        yield
