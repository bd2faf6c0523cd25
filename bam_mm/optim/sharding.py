"""Pretraining whose weights, gradients, optimizer and teacher are divided among the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmpretrain.models import TIMMBackbone
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from bam_mm.distributed import shard_like, whole_tensors, world_size
from bam_mm.errors import InputError
from bam_mm.optim.blocks import residual_blocks
from bam_mm.registry import STRATEGIES

FORWARDS = ("forward_features", "forward_intermediates")
"""Methods of timm's networks that are called in place of ``forward``."""


@STRATEGIES.register_module()
class ShardedStrategy(DDPStrategy):
    """Strategy of mmengine's ``FlexibleRunner`` that shards BAM with PyTorch's ``fully_shard``.

    Each process holds 1/P of every parameter, of its gradient, of the optimizer's state and of the
    teacher. Before a block of the network runs, its parameters are gathered, and freed again
    afterwards. Losses, gradient clipping and the teacher are those of DistributedDataParallel, up
    to rounding. Checkpoints are the same files, with whole tensors: a run can be resumed with or
    without sharding and with another number of processes, and all tools read them.

    mmengine's own ``FSDPStrategy`` cannot train BAM: it cuts the student at other places than the
    teacher, and clips the gradient of each process by the norm of its own part.

    Example:
        ``runner_type="FlexibleRunner"`` and ``strategy=dict(type="bam_mm.ShardedStrategy")`` in a
        config.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._whole: dict[str, dict] = {}

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        """Shard a model in place; a single process keeps it whole."""
        model = self.convert_model(model.to(get_device()))
        if world_size() > 1:
            shard(model)
            mine = sum(p.to_local().numel() for p in model.parameters() if isinstance(p, DTensor))
            every = sum(p.numel() for p in model.parameters())
            self.logger.info(f"sharded: this process holds {mine:,} of {every:,} parameters")
        return model

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Save a checkpoint with whole tensors; every process must call this method."""
        # Gathering takes every process, but only the first one writes (in the parent class).
        self._whole["model"] = whole_tensors(super().model_state_dict())
        if save_optimizer and hasattr(self, "optim_wrapper"):
            self._whole["optimizer"] = whole_tensors(super().optim_state_dict())
        try:
            super().save_checkpoint(
                filename,
                save_optimizer=save_optimizer,
                save_param_scheduler=save_param_scheduler,
                extra_ckpt=extra_ckpt,
                callback=callback,
            )
        finally:
            self._whole.clear()

    def model_state_dict(self) -> dict:
        """Return the model's state with whole tensors; every process must call this method."""
        return self._whole.get("model") or whole_tensors(super().model_state_dict())

    def optim_state_dict(self) -> dict:
        """Return the optimizer's state with whole tensors; every process must call this method."""
        return self._whole.get("optimizer") or whole_tensors(super().optim_state_dict())

    def load_model_state_dict(self, state_dict: dict, **kwargs: Any) -> None:
        """Load the model's state from whole tensors, the same on every process."""
        own = self.model.state_dict()
        # Names in the checkpoints of mmengine's DDPStrategy have this prefix.
        plain = {name.removeprefix("module."): value for name, value in state_dict.items()}
        parts = {
            name: shard_like(value, own[name]) if name in own else value
            for name, value in plain.items()
        }
        super().load_model_state_dict(parts, **kwargs)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer's state from whole tensors, the same on every process."""
        groups = self.optim_wrapper.optimizer.param_groups
        parameters = [parameter for group in groups for parameter in group["params"]]
        state = {
            number: {
                name: shard_like(value, parameters[number])
                if isinstance(value, Tensor) and value.shape == parameters[number].shape
                else value
                for name, value in entries.items()
            }
            for number, entries in state_dict["state"].items()
        }
        super().load_optim_state_dict({**state_dict, "state": state})


def shard(model: nn.Module) -> None:
    """Divide the parameters of a pretraining model among the processes, in place.

    Backbones and necks are sharded one by one, not the whole model, because kNN, boxes and the
    teacher call them outside the model's ``forward``.

    Args:
        model: Model with ``backbone``, ``neck`` and, optionally, a ``teacher`` that has the same.

    Raises:
        InputError: If the model has other parameters.
    """
    parts = [part for part in _parts(model) if part is not None]
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    outside = [name for name, p in model.named_parameters() if id(p) not in inside]
    if outside:
        raise InputError(
            f"strategy bam_mm.ShardedStrategy: {type(model).__name__} has the parameter "
            f"{outside[0]} outside of backbone and neck, so it is no pretraining model that can be "
            "sharded; remove runner_type and strategy from the config"
        )
    mesh = init_device_mesh(next(model.parameters()).device.type, (world_size(),))
    for part in parts:
        # With reshard_after_forward, parameters are shards whenever an optimizer, the teacher's
        # update or a checkpoint reads them, also after a forward pass without a backward pass.
        for block in residual_blocks(part):
            fully_shard(block, mesh=mesh, reshard_after_forward=True)
        network = part.timm_model if isinstance(part, TIMMBackbone) else part
        fully_shard(network, mesh=mesh, reshard_after_forward=True)
        for name in FORWARDS:
            if hasattr(network, name):
                register_fsdp_forward_method(network, name)


def _parts(model: Any) -> Iterator[nn.Module | None]:
    for branch in (model, getattr(model, "teacher", None)):
        yield getattr(branch, "backbone", None)
        yield getattr(branch, "neck", None)
