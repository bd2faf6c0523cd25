"""Classification models of torchvision as backbones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torchvision import models
from torchvision.models import VisionTransformer

from bam_mm.errors import InputError
from bam_mm.models.drop_path import scale_drop_path
from bam_mm.registry import MODELS

_TRANSFORMED = ("googlenet", "inception_v3")
"""Models that turn ImageNet's normalisation into the one of their weights."""


@MODELS.register_module()
class TorchvisionBackbone(BaseModule):
    """A classification model of torchvision without its classifier. Nothing is downloaded.

    The names of the tensors are torchvision's own, so that its files load as they are. The output
    is the vector that torchvision's classifier gets; maps and tokens come from the adapter
    (:func:`~bam_mm.models.adapters.lookup.adapter_of`). A vision transformer takes images of any
    size: its position embedding is resized bicubically.

    Args:
        model_name: Name of the model in ``torchvision.models.list_models()``, such as ``resnet50``.
        frozen: Whether no parameter is trained and the backbone stays in evaluation mode.
        drop_path_rate: Probability of stochastic depth in the last block, instead of the one that
            torchvision's builders set (0.1 for ConvNeXt-T, 0.2 for Swin-T); those of the other
            blocks keep their ratio. Networks that do not have it (ResNet, ViT and others of
            torchvision) log that it is left out.
        init_cfg: Config of ``BaseModule``'s initialisation.
        **kwargs: Arguments of the model, such as ``norm_layer``.

    Raises:
        InputError: If torchvision has no such model, the model does not take an argument, or it has
            no linear classifier that could be removed.
    """

    net: Any

    def __init__(
        self,
        model_name: str,
        frozen: bool = False,
        drop_path_rate: float = 0.0,
        init_cfg: Mapping | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        net = _built(model_name, drop_path_rate, kwargs)
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
        if isinstance(self.net, VisionTransformer):
            return (self.net.heads(self.net.encoder.ln(self.blocks(x)[0][-1])[:, 0]),)
        output = self.net(x)
        # GoogLeNet and Inception return auxiliary logits in training, the main output first.
        return (output[0] if isinstance(output, tuple) else output,)

    def blocks(self, x: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Compute the tokens of every block of a vision transformer.

        Args:
            x: (N, 3, H, W) normalised images, which are padded to whole patches.

        Returns:
            (N, 1 + h * w, C) tokens of each block before the final norm, [CLS] first, and the grid
            (h, w) of the patches.
        """
        net, patch = self.net, self.net.patch_size
        x = net.conv_proj(F.pad(x, (0, -x.shape[3] % patch, 0, -x.shape[2] % patch)))
        grid = (x.shape[2], x.shape[3])
        x = torch.cat([net.class_token.expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
        x = net.encoder.dropout(x + self._positions(grid))
        found = []
        for layer in net.encoder.layers:
            x = layer(x)
            found.append(x)
        return found, grid

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        table: Tensor = self.net.encoder.pos_embedding
        side = self.net.image_size // self.net.patch_size
        if grid == (side, side):
            return table
        places = table[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        places = F.interpolate(places, size=grid, mode="bicubic", align_corners=False)
        return torch.cat([table[:, :1], places.flatten(2).transpose(1, 2)], dim=1)


def _built(name: str, drop_path_rate: float, kwargs: Mapping[str, Any]) -> nn.Module:
    options = dict(kwargs)
    for task in (models.detection, models.segmentation, models.video, models.optical_flow):
        # Those with a backbone of their own would download its weights, whatever the arguments.
        if name in models.list_models(task):
            raise InputError(
                f"backbone.model_name={name!r}: this model of {task.__name__} is no classification "
                "model; choose one, such as resnet50"
            )
    # Most builders pass the rate themselves and refuse it, so it is set afterwards.
    rate = options.pop("stochastic_depth_prob", drop_path_rate)
    try:
        net = models.get_model(name, weights=None, **options)
        if name in _TRANSFORMED and "transform_input" not in options:
            # As with published weights, whose images have ImageNet's normalisation.
            net.transform_input = True
    except (TypeError, ValueError) as error:
        raise InputError(
            f"backbone.model_name={name!r} of torchvision: {error}; see "
            "torchvision.models.list_models() for the names"
        ) from error
    if not scale_drop_path(net, rate) and rate:
        print_log(
            f"torchvision's {name} is built without stochastic depth: drop_path_rate={rate} is "
            "left out",
            logger="current",
        )
    return net


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
