"""The optimizer of a model with a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from bam_mm.errors import InputError
from bam_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class StudentOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's default, but silent about the teacher, and with few groups.

    The default visits every parameter and warns of each that has no gradient: all of the teacher's,
    a wall of text at the start of each run. With ``paramwise_cfg`` it makes a group of every
    parameter, and an optimizer that is fused, or loops over all tensors at once, does so within a
    group only: a kernel, and the Python around it, for each tensor. Here parameters of the same
    settings share a group, in the order in which the first of them comes.
    """

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs) -> None:
        """Add the parameters of ``module``, except the teacher's.

        Args:
            params: Groups; extended in place, at the end of the whole model also merged.
            module: The model, or in mmengine's recursion a part of it.
            prefix: Where the part is; empty for the model.
            **kwargs: Of mmengine's recursion.

        Raises:
            InputError: If a parameter that two modules share is in twice.
        """
        if prefix == "teacher":
            return
        super().add_params(params, module, prefix=prefix, **kwargs)
        if not prefix:
            base = {"lr": self.base_lr, "weight_decay": self.base_wd}
            base = {name: value for name, value in base.items() if value is not None}
            params[:] = merge_groups([{**base, **group} for group in params])


def merge_groups(groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Merge the groups of an optimizer that have the same settings.

    Args:
        groups: Each a dict of ``params``, a list, and of settings.

    Returns:
        One group for each kind of settings; groups and parameters in their order.

    Raises:
        InputError: If a parameter is in twice: it would be updated twice.
    """
    every = [id(parameter) for group in groups for parameter in group["params"]]
    if len(set(every)) < len(every):
        raise InputError(
            f"the optimizer was given {len(every) - len(set(every))} of the parameters twice: "
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
