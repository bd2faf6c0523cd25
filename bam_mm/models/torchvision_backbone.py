"""Classification models of torchvision as backbones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torchvision
from mmengine.model import BaseModule
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.registry import MODELS


@MODELS.register_module()
class TorchvisionBackbone(BaseModule):
    """A classification model of torchvision without its classifier. Nothing is downloaded.

    The names of the tensors are torchvision's own, so that its files load as they are. The output
    is the vector that torchvision's classifier gets; maps and tokens come from the adapter
    (:func:`~bam_mm.models.adapters.adapter_of`). A vision transformer takes images of any size: its
    position embedding is resized bicubically.

    Args:
        model_name: Name of the model in ``torchvision.models.list_models()``, such as ``resnet50``.
        frozen: Whether no parameter is trained and the backbone stays in evaluation mode.
        init_cfg: Config of ``BaseModule``'s initialisation.
        **kwargs: Arguments of the model, such as ``stochastic_depth_prob``.

    Raises:
        InputError: If torchvision has no such model, the model does not take an argument, or it has
            no linear classifier that could be removed.
    """

    def __init__(
        self,
        model_name: str,
        frozen: bool = False,
        init_cfg: Mapping | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        try:
            net = torchvision.models.get_model(model_name, weights=None, **kwargs)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"backbone.model_name={model_name!r} of torchvision: {error}; see "
                "torchvision.models.list_models() for the names"
            ) from error
        _remove_classifier(net, model_name)
        # The same dictionaries, not a child: names of tensors stay torchvision's, and both modules
        # always hold the same tensors, also after a move or a deep copy.
        object.__setattr__(self, "net", net)
        for name in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            object.__setattr__(self, name, getattr(net, name))
        self.model_name, self.frozen = model_name, frozen
        if frozen:
            self.requires_grad_(False)
            self.train(False)

    def train(self, mode: bool = True) -> TorchvisionBackbone:
        """Set the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode and not self.frozen)
        self.net.training = self.training
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the pooled feature.

        Args:
            x: (N, 3, H, W) normalised images.

        Returns:
            Tuple of one (N, D) tensor.
        """
        from bam_mm.models.adapters import adapter_of  # It needs this class to recognise it.

        return (adapter_of(self).vector(x),)


def _remove_classifier(net: nn.Module, name: str) -> None:
    """Replace the last linear layer, which computes the logits, by an identity."""
    linear = [key for key, module in net.named_modules() if isinstance(module, nn.Linear)]
    head = linear[-1] if linear else ""
    if head.split(".")[0] not in ("fc", "classifier", "heads", "head"):
        raise InputError(
            f"backbone.model_name={name!r}: torchvision's {type(net).__name__} does not end in a "
            "linear classifier; choose a classification model such as resnet50"
        )
    owner, _, last = head.rpartition(".")
    net.get_submodule(owner)._modules[last] = nn.Identity()
