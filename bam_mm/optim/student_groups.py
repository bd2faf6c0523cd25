"""Parameter groups of a model with a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from bam_mm.errors import InputError
from bam_mm.optim.summary import BriefOptimWrapperConstructor
from bam_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class StudentOptimWrapperConstructor(BriefOptimWrapperConstructor):
    """mmengine's default constructor without the teacher's parameters, and with few groups.

    The default constructor warns of every parameter without a gradient, which would fill the log
    with all parameters of the teacher. With ``paramwise_cfg`` it also makes one group per
    parameter. Fused and foreach optimizers only combine tensors within a group, so they would
    launch a kernel for every tensor. Here parameters with the same settings share a group, and the
    groups are in the order of their first parameters.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs) -> None:
        """Add the parameters of ``module``, except the teacher's.

        Args:
            params: Parameter groups; extended in place, and merged after the whole model is added.
            module: Model to optimize, or a submodule in mmengine's recursion.
            prefix: Name of the submodule; empty for the model.
            **kwargs: Further arguments of mmengine's recursion.

        Raises:
            InputError: If a parameter that two modules share is added twice.
        """
        if prefix == "teacher":
            return
        super().add_params(params, module, prefix=prefix, **kwargs)
        if not prefix:
            base = {"lr": self.base_lr, "weight_decay": self.base_wd}
            base = {name: value for name, value in base.items() if value is not None}
            params[:] = merge_groups([{**base, **group} for group in params])


def merge_groups(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the parameter groups of an optimizer that have the same settings.

    Args:
        groups: Dicts with a list ``params`` and settings.

    Returns:
        One group for each combination of settings; groups and parameters keep their order.

    Raises:
        InputError: If the groups hold a parameter twice, so that it would be updated twice.
    """
    every = [id(parameter) for group in groups for parameter in group["params"]]
    if len(set(every)) < len(every):
        raise InputError(
            f"the optimizer would get {len(every) - len(set(every))} of the parameters twice: "
            "modules of the model share them; set optim_wrapper.paramwise_cfg.bypass_duplicate=True"
        )
    merged: list[dict[str, Any]] = []
    for group in groups:
        settings = {name: value for name, value in group.items() if name != "params"}
        for known in merged:
            if {name: value for name, value in known.items() if name != "params"} == settings:
                known["params"].extend(group["params"])
                break
        else:
            merged.append({"params": list(group["params"]), **settings})
    return merged
