"""Parameter groups of many linear probes: one for each head."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper as ScalingWrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from bam_mm.errors import InputError
from bam_mm.optim.amp_wrapper import NARROW, AmpOptimWrapper
from bam_mm.optim.summary import describe_groups
from bam_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class ManyLinearProbesConstructor(DefaultOptimWrapperConstructor):
    """Constructor with a parameter group for each head of ``bam_mm.ManyLinearProbes``.

    A head's learning rate is the optimizer's times its own, and its weight decay is its own. The
    optimizer's is usually 1: it is the factor that ``--auto-scale-lr`` and sweeps change. A
    schedule then scales each group's learning rate. LARS computes its norms for each tensor, and
    so for each head.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model.

        Args:
            model: ``bam_mm.ManyLinearProbes``, also in the wrapper of a distributed run.

        Raises:
            InputError: If the model is of another class, the optimizer has no learning rate, or a
                setting would be shared by all heads, as the scale of the loss would be.
        """
        module: Any = getattr(model, "module", model)
        if not hasattr(module, "groups"):
            raise InputError(
                f"optim_wrapper.constructor={type(self).__name__}: {type(module).__name__} has no "
                "heads with settings; set model.type=bam_mm.ManyLinearProbes, or remove it"
            )
        self._check_settings()
        groups = [
            {
                "params": parameters,
                "lr": self.base_lr * setting.learning_rate,
                "weight_decay": setting.weight_decay,
            }
            for setting, parameters in module.groups()
        ]
        print_log(describe_groups(groups), logger="current")
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, "params": groups})
        wrapper = {"type": "OptimWrapper", **self.optim_wrapper_cfg, "optimizer": optimizer}
        return OPTIM_WRAPPERS.build(wrapper)

    def _check_settings(self) -> None:
        where = "optim_wrapper"
        if self.base_lr is None:
            raise InputError(
                f"{where}.optimizer has no lr, the factor of all learning rates in "
                "model.learning_rates: set it to 1"
            )
        if self.base_wd:
            raise InputError(
                f"{where}.optimizer.weight_decay={self.base_wd}: each head has its own; set "
                "model.weight_decays, and remove this one"
            )
        if self.paramwise_cfg:
            raise InputError(f"{where}.paramwise_cfg: each head has its own group; remove it")
        if self.optim_wrapper_cfg.get("clip_grad"):
            raise InputError(
                f"{where}.clip_grad={dict(self.optim_wrapper_cfg['clip_grad'])}: the norm over all "
                "heads would make each one depend on the others; set it to None"
            )
        if _scales_loss(self.optim_wrapper_cfg):
            raise InputError(
                f"{where} scales the loss for float16, and would skip the step of all heads if one "
                f"overflows: set {where}.dtype=bfloat16 (--amp bfloat16), or train without --amp; "
                "the heads compute in float32 in any case"
            )


def _scales_loss(config: Mapping[str, Any]) -> bool:
    """Return whether an optimizer wrapper would have a loss scaler that is enabled."""
    kind = config.get("type", "OptimWrapper")
    kind = OPTIM_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(kind, type) and issubclass(kind, ScalingWrapper)):
        return False
    scale = config.get("loss_scale")
    if scale is None:
        return not issubclass(kind, AmpOptimWrapper) or config.get("dtype") in NARROW
    return not (isinstance(scale, Mapping) and scale.get("enabled") is False)
