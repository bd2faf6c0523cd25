"""Sizes of a pretraining config, counted on the real model with tensors that have no contents."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bam_mm.launch.config import load_config
from bam_mm.losses import bam_loss
from bam_mm.models.bam import BAM
from bam_mm.registry import MODELS
from benchmarks.baselines.plain_training_step import materialised_attention
from benchmarks.counted_memory import CountedMemory, as_one_of, like_a_gpu
from benchmarks.model_flops import count_flops
from benchmarks.training_step_variants import attention_by


@dataclass(frozen=True)
class Parameters:
    """Numbers of elements of a model.

    Attributes:
        student: Student's parameters and buffers.
        teacher: Teacher's parameters and buffers.
        trained: Parameters with a gradient.
        buffers: Buffers of student and teacher.
        synced: Channels of each BatchNorm layer of the student.
        features: Width of the backbone's features.
    """

    student: int
    teacher: int
    trained: int
    buffers: int
    synced: tuple[int, ...]
    features: int


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a forward and backward pass.

    Attributes:
        activations: What the forward pass leaves for the backward pass.
        peak: Peak of both, with the gradients.
        order: Elements of each gradient, in the order in which they are complete.
    """

    activations: int
    peak: int
    order: tuple[int, ...]


@dataclass(frozen=True)
class Operations:
    """Floating-point operations for an image; a multiplication and an addition count as two.

    Attributes:
        step: Whole training step.
        global_views: Forward pass of the backbone on the global views.
        view: Forward pass of the backbone on one global view.
    """

    step: float
    global_views: float
    view: float


def build(config: str, **options) -> BAM:
    """Build the model of a pretraining config in training mode.

    Args:
        config: Name or path of the config.
        options: Values of the config that replace others, by their dotted key.
    """
    init_default_scope("mmpretrain")
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        return MODELS.build(load_config(config, options).model).train()
    finally:
        logging.disable(level)


def parameters_of(model: BAM) -> Parameters:
    """Count the parameters of a model."""

    def count(*modules: nn.Module) -> int:
        return sum(x.numel() for m in modules for x in (*m.parameters(), *m.buffers()))

    norms = [m for m in model.backbone.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms += [m for m in model.neck.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return Parameters(
        student=count(model.backbone, model.neck),
        teacher=count(model.teacher) if model.teacher is not None else 0,
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        buffers=sum(b.numel() for b in model.buffers()),
        synced=tuple(norm.num_features for norm in norms),
        features=model.neck.layers[0].in_features,
    )


def without_contents(model: nn.Module, mode: FakeTensorMode) -> nn.Module:
    """Replace all parameters and buffers by fake tensors of the same shapes, in place."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = mode.from_tensor(tensor)
    return model


def count_step(model: BAM, batch: int, *, half: bool = True) -> StepMemory:
    """Count the memory of one step of a model without contents, within its fake mode.

    Args:
        model: The model.
        batch: Number of images.
        half: Whether to use bfloat16 under autocast and the loss's chunks for a GPU, instead of
            float32 and those for a CPU.
    """
    views = _views(model, batch)
    order: list[int] = []
    trained = [p for p in model.parameters() if p.requires_grad]
    hooks = [
        p.register_post_accumulate_grad_hook(lambda p: order.append(p.numel())) for p in trained
    ]
    known = [*model.parameters(), *model.buffers(), *views]

    def run() -> tuple[int, int]:
        with CountedMemory(*known) as memory:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                loss = model.loss(views)["loss"]
            kept = memory.now
            loss.backward()
        return kept, memory.peak

    activations, peak = _like_its_device(run, half)
    for hook in hooks:
        hook.remove()
    model.zero_grad(set_to_none=True)
    model.last_projection = None
    return StepMemory(activations, peak, tuple(order))


def count_loss(batch: int, processes: int, *, views: int = 8, keys: int = 2, width: int = 4096):
    """Count the peak of the loss in bytes, forward and backward, in one of several processes.

    Args:
        batch: Number of images of a process.
        processes: Number of processes, whose keys are gathered.
        views: Number of views.
        keys: Number of global views.
        width: Width of the projections.
    """
    with FakeTensorMode(), as_one_of(processes), like_a_gpu():
        student = torch.empty(views * batch, width, dtype=torch.bfloat16).requires_grad_()
        teacher = torch.empty(keys * batch, width, dtype=torch.bfloat16)
        with CountedMemory(student, teacher) as memory:
            with torch.autocast("cpu", torch.bfloat16):
                loss = bam_loss(student, teacher, num_views=views, num_global=keys)
            loss.backward()
    return memory.peak


def count_operations(model: BAM, batch: int = 4) -> Operations:
    """Count the operations of a model without contents, within its fake mode.

    Args:
        model: The model.
        batch: Number of images. The loss, which grows with its square, is negligible if it is
            small.
    """
    views = _views(model, batch)
    num_global = model.layout.num_global
    with attention_by(model, materialised_attention):
        whole = count_flops(lambda: model.loss(views)["loss"].backward())
        with torch.no_grad():
            seen = count_flops(lambda: model.backbone(torch.cat(views[:num_global])))
    model.zero_grad(set_to_none=True)
    return Operations(whole / batch, seen / batch, seen / batch / num_global)


def _views(model: BAM, batch: int) -> list[Tensor]:
    return [torch.empty(batch, 3, side, side) for side in model.layout.sizes]


def _like_its_device(run: Callable, half: bool):
    if not half:
        return run()
    with like_a_gpu():
        return run()
