"""What tasks ask of a backbone, whichever library it is from: vectors, tokens and maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from bam_mm.errors import InputError

NORMS = ("none", "last", "all")
"""Maps that pass the final norm."""

STEM_STRIDE = 4
"""Stride of stage 0 of a pyramid: maps with a smaller stride are part of its stem."""


@dataclass(frozen=True)
class Stage:
    """A map that a backbone offers.

    Attributes:
        index: Number of the stage, counted in the same way for every library: the block of a
            transformer, or the stage of a pyramid, where 0 has stride 4.
        width: Number of channels.
        stride: Pixels of the input from one position of the map to the next.
        name: Name of the module or number of the output in the library, for messages.
        place: Index of the output as the library counts it.
    """

    index: int
    width: int
    stride: int
    name: str
    place: int


def pyramid(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Number the stages of a backbone by stride, so that libraries that count a stem agree.

    Maps of stride 1 and 2 are the stem of a network that reaches a stride of 16 or more, and are
    left out: stage 0 has stride 4. A network for small images or with dilated convolutions keeps
    its last four stages.

    Args:
        stages: Stages in the order of the forward pass, as the library lists them.

    Returns:
        The stages of the contract; all of them if their strides are equal (a transformer's blocks).
    """
    if len({stage.stride for stage in stages}) > 1:
        large = [stage for stage in stages if stage.stride >= STEM_STRIDE]
        stages = large if large and large[-1].stride >= 16 else stages[-4:]
    return tuple(replace(stage, index=index) for index, stage in enumerate(stages))


@dataclass(frozen=True)
class InputSizes:
    """Sizes of images that a backbone takes.

    Attributes:
        multiple: Number of which height and width are multiples.
        fixed: The only size (H, W), None for any.
        any_size: Settings of the backbone's config that let it take other sizes, empty for none.
        padding: Settings that let it pad, empty for none.
    """

    multiple: int = 1
    fixed: tuple[int, int] | None = None
    any_size: tuple[tuple[str, Any], ...] = ()
    padding: tuple[tuple[str, Any], ...] = ()

    def whole(self, height: int, width: int) -> bool:
        """Return whether a size is made of whole patches, so that nothing is padded."""
        return not (height % self.multiple or width % self.multiple)


class BackboneAdapter(ABC):
    """Uniform view of a built backbone, from :func:`~bam_mm.models.adapters.lookup.adapter_of`.

    An adapter holds no weights and changes nothing: it calls the library's own functions and checks
    that what they return has the shape that the library states. Everything is computed in the mode
    (training or evaluation) and on the device of the backbone, with a graph if autograd is on.

    Args:
        backbone: The built backbone.
    """

    library: str = ""
    """Library of the backbone: ``timm``, ``mmpretrain``, ``torchvision`` or ``own``."""

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self._announced: set[tuple[int, int]] = set()
        self._announced_stages: set[int] = set()

    @property
    def name(self) -> str:
        """Name of the backbone in messages."""
        return type(self.backbone).__name__

    @property
    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Maps that the backbone offers, in the order of the forward pass."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Stride of each stage in pixels."""
        return tuple(stage.stride for stage in self.stages)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of channels of each stage."""
        return tuple(stage.width for stage in self.stages)

    @cached_property
    def isotropic(self) -> bool:
        """Whether all stages have one stride and width, as the blocks of a plain transformer."""
        return len({*self.strides}) == 1 and len({*self.widths}) == 1 and len(self.stages) > 1

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens in front of the patches: [CLS], distillation token, registers."""
        return 0

    @property
    def cls_index(self) -> int | None:
        """Index of the [CLS] token among the prefix tokens, None if there is none."""
        return 0 if self.prefix_tokens else None

    @property
    def trains_cls(self) -> bool:
        """Whether the [CLS] token describes the image, for which a loss must have trained it."""
        return self.cls_index is not None

    @property
    def token_blocks(self) -> int:
        """Number of last blocks after which there are tokens with all prefix tokens."""
        return len(self.stages) if self.prefix_tokens else 0

    @property
    def sizes(self) -> InputSizes:
        """Sizes of images that the backbone takes."""
        return InputSizes()

    @abstractmethod
    def maps(
        self, images: Tensor, stages: Sequence[int] | None = None, *, norm: str = "last"
    ) -> list[Tensor]:
        """Compute maps of several stages.

        Args:
            images: (N, 3, H, W) normalised images.
            stages: Indices of :attr:`stages`; negative ones count from the end. None is the last.
            norm: Maps that pass the backbone's final norm: ``last`` for that of the last stage, as
                the library's own forward pass does, ``none``, or ``all`` for a transformer, whose
                blocks all have the width of the norm. Output norms that a backbone was built with
                (mmpretrain's ``norm0`` to ``norm3``) always apply.

        Returns:
            (N, width, H / stride, W / stride) map of each stage, without prefix tokens.

        Raises:
            InputError: If a stage does not exist, a map has another shape than stated, or
                ``norm='all'`` for a pyramid.
        """

    def unnormalised(self, images: Tensor, stage: int) -> Tensor:
        """Compute the map of a stage before every norm that only the output passes.

        Behind a norm over channels, the features of all places have nearly the same length, so that
        a heat map of their lengths would be flat.

        Args:
            images: (N, 3, H, W) normalised images.
            stage: Index of the stage.

        Returns:
            (N, width, H / stride, W / stride) map, as from :meth:`maps`.

        Raises:
            InputError: Same as in :meth:`maps`.
        """
        return self.maps(images, [stage], norm="none")[0]

    def tokens(self, images: Tensor, blocks: int = 1) -> list[Tensor]:
        """Compute the tokens of the last blocks, each after the final norm.

        Args:
            images: (N, 3, H, W) normalised images.
            blocks: Number of last blocks.

        Returns:
            (N, L, C) tokens of each block in the order of the forward pass, prefix tokens first.

        Raises:
            InputError: If the backbone has no tokens, or not after that many blocks.
        """
        raise InputError(
            f"{self.name} has no tokens, it returns maps: use its maps, or the mean of the last one"
        )

    @abstractmethod
    def final(self, images: Tensor) -> Tensor:
        """Compute the backbone's last output, before the library pools it.

        Args:
            images: (N, 3, H, W) normalised images.

        Returns:
            (N, C, h, w) map, (N, L, C) tokens, or (N, C) vector if the backbone pools itself.

        Raises:
            InputError: If the output has none of these shapes.
        """

    @abstractmethod
    def vector(self, images: Tensor) -> Tensor:
        """Compute the library's own pooled feature, which its classifier would get.

        Args:
            images: (N, 3, H, W) normalised images.

        Returns:
            (N, D) features.

        Raises:
            InputError: If the pooling of the library has weights that the backbone lacks.
        """

    def padded(self, height: int, width: int) -> str:
        """Describe the padding of images of a size, ``""`` if there is none."""
        sizes = self.sizes
        if sizes.fixed is not None or sizes.whole(height, width):
            return ""
        up = [-(-side // sizes.multiple) * sizes.multiple for side in (width, height)]
        return (
            f"images of {width}x{height} pixels are padded to {up[0]}x{up[1]}, whole patches of "
            f"{sizes.multiple} pixels"
        )

    def announce_padding(self, images: Tensor) -> None:
        """Log once for each size of images how they are padded.

        Args:
            images: (N, 3, H, W) images.
        """
        size = (images.shape[2], images.shape[3])
        if size not in self._announced:
            self._announced.add(size)
            if text := self.padded(*size):
                print_log(f"{self.name}: {text}", logger="current")

    def announce_stage(self, index: int) -> None:
        """Log once the stride of a chosen stage, if the network has no map of stride 4.

        Args:
            index: Index of the stage.

        Raises:
            InputError: If the stage does not exist.
        """
        (stage,) = self.chosen([index])
        if self.isotropic or self.strides[0] == STEM_STRIDE or index in self._announced_stages:
            return
        self._announced_stages.add(index)
        print_log(
            f"{self.name}: stage {index} has a stride of {stage.stride} pixels; the first stage "
            f"has {self.strides[0]}, not {STEM_STRIDE}",
            logger="current",
        )

    def layout(self, x: Tensor) -> str:
        """Return the order of the dimensions of the module's own output, which no length tells.

        Args:
            x: Output of the module for a batch of images.

        Returns:
            ``NC``, ``NLC`` or ``NCHW``, or what the library states instead: ``NHWC`` or ``NCL``.
        """
        return {2: "NC", 3: "NLC", 4: "NCHW"}[x.ndim]

    def outputs(self, images: Tensor, blocks: int = 1) -> list[Tensor]:
        """Compute what a probe combines: the tokens of the last blocks, or the last output.

        Args:
            images: (N, 3, H, W) normalised images.
            blocks: Number of last blocks of a transformer.

        Returns:
            Tokens (N, L, C) of each block if there are prefix tokens, else the output of
            :meth:`final` alone.
        """
        return self.tokens(images, blocks) if self.prefix_tokens else [self.final(images)]

    def default_stage(self) -> int:
        """Return the index of the stage that the backbone was built to output, usually the last."""
        return len(self.stages) - 1

    def chosen(self, stages: Sequence[int] | None) -> list[Stage]:
        """Return stages by index.

        Raises:
            InputError: If an index does not exist.
        """
        known = self.stages
        wanted = [-1] if stages is None else stages
        for index in wanted:
            # A float passes the comparison, and True is an int.
            if type(index) is not int or not -len(known) <= index < len(known):
                raise InputError(
                    f"{self.name} has no stage {index!r}: choose one of 0 to {len(known) - 1}, "
                    f"whose strides are {', '.join(map(str, self.strides))}"
                )
        return [known[index] for index in wanted]

    def check_norm(self, norm: str) -> None:
        """Check the argument ``norm`` of :meth:`maps`.

        Raises:
            InputError: If it is unknown, or ``all`` for a pyramid.
        """
        if norm not in NORMS or (norm == "all" and not self.isotropic):
            raise InputError(
                f"norm={norm!r}: choose one of {', '.join(NORMS)}; 'all' only fits a transformer "
                f"whose blocks have one width, and the widths of {self.name} are "
                f"{', '.join(map(str, self.widths))}"
            )

    def checked(self, x: Any, stage: Stage, images: Tensor) -> Tensor:
        """Return a map if it has the shape of its stage.

        Args:
            x: Output for the stage.
            stage: The stage.
            images: The images that it was computed from.

        Raises:
            InputError: If it is no (N, C, h, w) map, or C, h or w differs from what is stated.
        """
        height, width = images.shape[2:]
        wanted = tuple(-(-side // stage.stride) for side in (height, width))
        # A convolution without padding loses a position, padding to whole windows adds some.
        fits = (
            isinstance(x, Tensor)
            and x.ndim == 4
            and x.shape[1] == stage.width
            and all(abs(a - b) <= max(1, b // 5) for a, b in zip(x.shape[2:], wanted, strict=True))
        )
        if not fits:
            raise self.misfit(x, f"a map (N, {stage.width}, {wanted[0]}, {wanted[1]})", stage.name)
        return x

    def misfit(self, x: Any, wanted: str, place: str = "its output") -> InputError:
        """Describe an output that does not have the shape that the contract states.

        Args:
            x: The output.
            wanted: Description of the shape.
            place: Name of the output.
        """
        found = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        return InputError(
            f"{self.name} returns {found} for {place}, but {wanted} is needed: channels must come "
            "second (NCHW); see docs/backbones.md for what a backbone may return"
        )
