"""Backbones of torchvision: the outputs of their modules, and their own forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import DenseNet, SwinTransformer

from bam_mm.errors import InputError
from bam_mm.models.adapters.contract import BackboneAdapter, InputSizes, Stage, pyramid
from bam_mm.models.adapters.measuring import deepest, measured
from bam_mm.models.map_norm import over_channels
from bam_mm.models.torchvision_backbone import TorchvisionBackbone

CONTAINERS = ("features", "trunk_output", "layers")
"""Attributes that hold the modules of a network in order; otherwise its children do."""

HEAD_LAYERS = {"EfficientNet": 1, "MobileNetV2": 1, "MNASNet": 3, "ShuffleNetV2": 1}
"""Number of last modules that belong to the 1x1 convolution before the pooling."""


class TorchvisionAdapter(BackboneAdapter):
    """Adapter of :class:`~bam_mm.models.torchvision_backbone.TorchvisionBackbone`.

    Stages are the last modules of each stride. torchvision's Swin computes in NHWC; its maps are
    permuted.
    """

    library = "torchvision"

    backbone: TorchvisionBackbone

    @property
    def net(self) -> Any:
        """The model of torchvision."""
        return self.backbone.net

    @property
    def name(self) -> str:
        """Class of the model and its name in torchvision."""
        return f"torchvision's {type(self.net).__name__} ({self.backbone.model_name})"

    @property
    def final_norm(self) -> nn.Module | None:
        """LayerNorm that the last map passes: that of Swin, or in the head of ConvNeXt."""
        if isinstance(self.net, SwinTransformer):
            return self.net.norm
        head = self.net._modules.get("classifier") or nn.Identity()
        return next((m for m in head.children() if isinstance(m, nn.LayerNorm)), None)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Stages by stride, measured once on a small black image."""
        found, side = measured(self, self._outputs)
        found = found[: len(found) - HEAD_LAYERS.get(type(self.net).__name__, 0)]
        return pyramid(deepest(self, found, side, by_layer=True))

    def maps(
        self, images: Tensor, stages: Sequence[int] | None = None, *, norm: str = "last"
    ) -> list[Tensor]:
        """Compute the outputs of the stages' modules, see :meth:`BackboneAdapter.maps`."""
        self.check_norm(norm)
        chosen = self.chosen(stages)
        outputs = self._outputs(images)
        maps = [outputs[stage.place] for stage in chosen]
        if norm == "last":
            maps = [
                self._normed(x) if stage is self.stages[-1] else x
                for x, stage in zip(maps, chosen, strict=True)
            ]
        return [self.checked(x, s, images) for x, s in zip(maps, chosen, strict=True)]

    def final(self, images: Tensor) -> Tensor:
        """Compute the map that torchvision pools, see :meth:`BackboneAdapter.final`.

        ConvNeXt and MaxViT average before their norm; here the map passes it.
        """
        x = self._normed(self._outputs(images)[-1])
        return F.relu(x) if isinstance(self.net, DenseNet) else x

    def vector(self, images: Tensor) -> Tensor:
        """Compute torchvision's own forward pass without the last linear layer."""
        (x,) = self.backbone(images)
        if not isinstance(x, Tensor) or x.ndim != 2:
            raise self.misfit(x, "a vector (N, D)")
        return x

    def _normed(self, x: Tensor) -> Tensor:
        """Apply the final norm, if there is one, to a map (N, C, h, w)."""
        return x if self.final_norm is None else over_channels(self.final_norm, x)

    def _outputs(self, images: Tensor) -> list[Tensor]:
        """Return the maps (N, C, h, w) of all modules of the network in order."""
        found: list[Tensor] = []
        nhwc = isinstance(self.net, SwinTransformer)

        def keep(_module: nn.Module, _inputs: Any, x: Any) -> None:
            if isinstance(x, Tensor) and x.ndim == 4 and min(x.shape[2:]) > 0:
                found.append(x.permute(0, 3, 1, 2) if nhwc else x)

        container = next((c for c in CONTAINERS if hasattr(self.net, c)), None)
        owner = getattr(self.net, container) if container else self.net
        modules: list[nn.Module] = []
        for name, module in owner.named_children():
            if name not in ("avgpool", "classifier"):
                modules += module if isinstance(module, nn.ModuleList) else [module]
        handles = [module.register_forward_hook(keep) for module in modules]
        try:
            self.net(images)
        finally:
            for handle in handles:
                handle.remove()
        return found


class TorchvisionViTAdapter(TorchvisionAdapter):
    """Adapter of torchvision's vision transformer, for images of any size."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Blocks of the encoder."""
        net = self.net
        return tuple(
            Stage(place, net.hidden_dim, net.patch_size, name, place)
            for place, (name, _) in enumerate(net.encoder.layers.named_children())
        )

    @property
    def prefix_tokens(self) -> int:
        """The [CLS] token."""
        return 1

    @property
    def sizes(self) -> InputSizes:
        """Any size; it is padded to whole patches."""
        return InputSizes(self.net.patch_size)

    def maps(
        self, images: Tensor, stages: Sequence[int] | None = None, *, norm: str = "last"
    ) -> list[Tensor]:
        """Compute maps of the patch tokens, see :meth:`BackboneAdapter.maps`."""
        self.check_norm(norm)
        chosen = self.chosen(stages)
        blocks, (height, width) = self.backbone.blocks(images)
        maps = []
        for stage in chosen:
            x = blocks[stage.place]
            if norm == "all" or (norm == "last" and stage.place == len(blocks) - 1):
                x = self.net.encoder.ln(x)
            x = x[:, 1:].transpose(1, 2).reshape(len(x), -1, height, width)
            maps.append(self.checked(x, stage, images))
        return maps

    def tokens(self, images: Tensor, blocks: int = 1) -> list[Tensor]:
        """Compute tokens after the encoder's norm, see :meth:`BackboneAdapter.tokens`."""
        found = self.backbone.blocks(images)[0]
        if blocks > len(found):
            raise InputError(
                f"model.blocks={blocks}: {self.name} has {len(found)} blocks; choose at most "
                f"{len(found)}"
            )
        return [self.net.encoder.ln(x) for x in found[-blocks:]]

    def final(self, images: Tensor) -> Tensor:
        """Compute the tokens of the last block."""
        return self.tokens(images)[-1]
