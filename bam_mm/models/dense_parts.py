"""Parts that the backbones with several maps share, whatever their library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from timm.layers import LayerNorm2d, convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bam_mm.errors import InputError
from bam_mm.models.activation_checkpointing import checkpoint_blocks
from bam_mm.models.dense_inputs import fit_images

SMALL = 64
"""Side of the image that traces the maps, in pixels."""

ADDED = "added"
"""Value of ``norm`` for maps with a LayerNorm each."""

FAILURES = (InputError, AssertionError, IndexError, RuntimeError, TypeError, ValueError)
"""Exceptions of networks that do not take an image."""


class DenseMixin(nn.Module):
    """What the backbones for detection and segmentation do in the same way for every library.

    Attributes:
        name: Name of the network.
        stages: Stages of the maps, as the network counts.
        norm: Maps that pass a norm.
        patch_size: Side of a patch in pixels, which the sides of images must be multiples of.
        fit_input: Way to make them multiples, see :func:`~bam_mm.models.dense_inputs.fit_images`.
        strides: Pixels of the input per cell of each map.
        widths: Number of channels of each map.
        only_size: Height and width of the only images that the network takes, None for any.
        frozen: Whether no parameter is trained and drop path is off.
        norm_eval: Whether BatchNorm uses and keeps its running statistics in training.
        has_final_norm: Whether the network has a norm behind its last block.
    """

    name: str
    stages: list[int]
    norm: str
    patch_size: int
    fit_input: str
    strides: list[int]
    widths: list[int]
    only_size: tuple[int, int] | None = None
    frozen: bool = False
    norm_eval: bool = False
    has_final_norm: bool = True

    def maps_of(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of the chosen stages, without the norms of :meth:`add_norms`.

        Args:
            images: (N, 3, H, W) normalised images, whose sides are multiples of the patch size.

        Returns:
            One map (N, D, h, w) per stage.
        """
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the maps of the chosen stages, without the prefix tokens of a transformer.

        Args:
            x: (N, 3, H, W) normalised images.

        Returns:
            One map (N, D, h, w) per stage.

        Raises:
            InputError: If the network takes another size only.
        """
        self.check_size(x)
        maps = self.maps_of(fit_images(x, self.patch_size, self.fit_input))
        return self.with_added_norms(maps)

    def trace(self, native: tuple[int, int]) -> None:
        """Compute the maps of a black image, to learn their shapes and which parameters are used.

        Args:
            native: Height and width of the images that the network was built for.

        Raises:
            InputError: If the cells of a map do not divide the image.
        """
        side = -(-SMALL // self.patch_size) * self.patch_size
        size, training = (side, side), self.training
        nn.Module.train(self, False)
        maps: tuple[Tensor, ...] = ()
        if size != native:
            try:
                maps = self._traced(size)
            except FAILURES:
                maps = ()
        if not maps:
            size, maps = native, self._traced(native)
            try:
                self._traced((native[0] + side, native[1] + 2 * side))
            except FAILURES:
                self.only_size = native
        nn.Module.train(self, training)
        self.strides = strides_of(maps, size, self.name)
        self.widths = [map_.shape[1] for map_ in maps]
        freeze_unused(self, maps)
        print_log(
            f"{type(self).__name__} {self.name}: maps of the stages {self.stages}, strides "
            f"{self.strides} px, channels {self.widths}",
            logger="current",
        )

    def _traced(self, size: tuple[int, int]) -> tuple[Tensor, ...]:
        # With the graph, also where a model is built under no_grad.
        with torch.enable_grad():
            return tuple(self(torch.zeros(1, 3, *size)))

    def check_size(self, images: Tensor) -> None:
        """Check the size of images.

        Raises:
            InputError: If the network takes another size only.
        """
        height, width = images.shape[2:]
        if self.only_size not in (None, (height, width)):
            only = "{}x{}".format(*self.only_size or ())
            raise InputError(
                f"{self.name} takes images of {only} px only, not of {height}x{width} px, and "
                "detection and segmentation have images of several sizes; choose another network, "
                "such as one with rotary or resizable position embeddings"
            )

    def add_norms(self, final: nn.Module | None) -> None:
        """Add a LayerNorm to every map that does not pass the network's final norm.

        Args:
            final: Final norm of the network, which the last map passes; None for none.
        """
        number = len(self.widths) - (final is not None)
        eps = getattr(final, "eps", 1e-6)
        self.output_norms = nn.ModuleList(LayerNorm2d(w, eps=eps) for w in self.widths[:number])
        # The proof of loading names them instead of missing them.
        names = [f"output_norms.{n}.{part}" for n in range(number) for part in ("weight", "bias")]
        self.added_parameters = names

    def with_added_norms(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Apply the norms of :meth:`add_norms`, if there are any.

        Args:
            maps: One map (N, D, h, w) per stage.
        """
        norms: Any = self._modules.get("output_norms") or ()
        return (*(norm(x) for norm, x in zip(norms, maps, strict=False)), *maps[len(norms) :])

    def switch(self, checkpointing: bool, frozen: bool, norm_eval: bool, sync_bn: bool) -> None:
        """Apply the settings that do not change the maps.

        Args:
            checkpointing: Whether blocks recompute their activations.
            frozen: See the attributes.
            norm_eval: See the attributes.
            sync_bn: Whether BatchNorm is synchronised over processes.

        Raises:
            InputError: If activations shall be recomputed in unknown blocks.
        """
        if sync_bn:
            # Unlike torch's, it keeps the activations inside timm's norms.
            convert_sync_batchnorm(self)
        if checkpointing:
            checkpoint_blocks(self)
        self.frozen, self.norm_eval = frozen, norm_eval
        if frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> DenseMixin:
        """Set the mode; what is frozen, or BatchNorm with ``norm_eval``, stays in evaluation."""
        super().train(mode and not self.frozen)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width of a size that a library states as one number or two."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def freeze_unused(network: nn.Module, maps: Iterable[Tensor]) -> int:
    """Freeze the parameters that maps do not depend on.

    DistributedDataParallel waits for the gradient of every trained parameter.

    Args:
        network: Network that computed the maps.
        maps: Maps with their graph.

    Returns:
        Number of frozen tensors.
    """
    used: set[int] = set()
    seen: set = set()
    waiting = [map_.grad_fn for map_ in maps if map_.grad_fn is not None]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        used.add(id(getattr(node, "variable", None)))
        waiting.extend(following for following, _ in node.next_functions if following is not None)
    unused = [p for p in network.parameters() if p.requires_grad and id(p) not in used]
    for parameter in unused:
        parameter.requires_grad_(False)
    return len(unused)


def strides_of(maps: Iterable[Tensor], size: tuple[int, int], name: str) -> list[int]:
    """Return the stride of each map.

    Args:
        maps: Maps of an image.
        size: Height and width of that image.
        name: Name of the network, for the message.

    Raises:
        InputError: If the cells of a map do not divide the image, so that boxes would not fit it.
    """
    strides = []
    for map_ in maps:
        cells = map_.shape[2:]
        stride = round(size[0] / cells[0])
        if any(-(-side // stride) != number for side, number in zip(size, cells, strict=True)):
            raise InputError(
                f"{name}: a map of {cells[0]}x{cells[1]} cells for an image of {size[0]}x{size[1]} "
                "px has no whole number of pixels per cell, so boxes and masks do not fit it; "
                "choose another model"
            )
        strides.append(stride)
    return strides
