"""The projections that a self-supervised model computes in an iteration, for monitors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError

REMEDY = "remove CollapseMonitorHook from custom_hooks"


class ProjectionTap:
    """Access to the projections of one iteration at a time.

    A model with an attribute ``last_projection``, as this package's algorithms have, is only read.
    For others, such as mmpretrain's SimCLR, BYOL, SwAV and MoCo v3, a forward hook on
    ``model.neck`` collects the outputs of the iterations for which :meth:`open` is called. A neck
    that is called once for each view contributes the rows of all its calls; a momentum encoder has
    a neck of its own and contributes none.
    """

    def __init__(self) -> None:
        self.outputs: list[Any] = []
        self.handle: torch.utils.hooks.RemovableHandle | None = None

    def open(self, model: nn.Module) -> None:
        """Collect the projections of the next forward pass.

        Args:
            model: The model or its wrapper.

        Raises:
            InputError: If the model has neither ``last_projection`` nor a neck.
        """
        self.close()
        model = unwrap_model(model)
        check_projector(model)
        if not hasattr(model, "last_projection"):
            neck: Any = model.neck
            self.handle = neck.register_forward_hook(self._keep)

    def close(self) -> None:
        """Stop collecting, and forget what was collected."""
        self.outputs = []
        if self.handle is not None:
            self.handle.remove()
            self.handle = None

    def read(self, model: nn.Module) -> Tensor:
        """Return the projections of the forward pass since :meth:`open`, and stop collecting.

        Args:
            model: The model or its wrapper.

        Returns:
            (R, D) projections, without a gradient; R counts the views of all images.

        Raises:
            InputError: If the neck was not called, or its output is no table (R, D).
        """
        model = unwrap_model(model)
        outputs = self.outputs
        self.close()
        if hasattr(model, "last_projection"):
            rows: Any = [] if model.last_projection is None else [model.last_projection]
        else:
            rows = [_first_tensor(output) for output in outputs]
        name = type(model).__name__
        if not rows:
            raise InputError(
                f"{name} computed no projection in this iteration: a model that is compiled as a "
                f"whole does not show the output of its neck; set compile=False, or {REMEDY}"
            )
        for table in rows:
            if table is None or table.ndim != 2:
                shape = "no tensor" if table is None else f"a tensor {tuple(table.shape)}"
                raise InputError(
                    f"model.neck of {name} returns {shape}, not one projection an image (R, D), as "
                    "the decoders of masked image modelling do, whose features cannot collapse in "
                    f"this way: {REMEDY}"
                )
        return torch.cat(rows)

    def _keep(self, module: nn.Module, inputs: Any, output: Any) -> None:
        first = _first_tensor(output)
        self.outputs.append(None if first is None else first.detach())


def check_projector(model: nn.Module) -> None:
    """Check that a model has projections.

    Args:
        model: The model or its wrapper.

    Raises:
        InputError: If it has neither ``last_projection`` nor a neck.
    """
    model = unwrap_model(model)
    if hasattr(model, "last_projection") or isinstance(getattr(model, "neck", None), nn.Module):
        return
    raise InputError(
        f"{type(model).__name__} has no projector (model.neck) whose output could be monitored: "
        f"{REMEDY}, or use a self-supervised model"
    )


def _first_tensor(output: Any) -> Tensor | None:
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return output if isinstance(output, Tensor) else None
