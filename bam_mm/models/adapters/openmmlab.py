"""Backbones of mmpretrain, mmdet and mmseg: through their ``out_indices`` and ``out_type``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters.contract import BackboneAdapter, InputSizes, Stage, pyramid
from bam_mm.models.adapters.measuring import deepest, measured
from bam_mm.models.map_norm import over_channels
from bam_mm.models.whole_images import averages_patches, forward_whole

SELECTORS = ("out_indices", "out_scales")
"""Attributes in which a backbone keeps the indices of its outputs; MViT has scales."""

HEAD_LAYERS = ("EfficientNet", "EfficientNetV2", "MobileNetV2")
"""Classes whose last output is the 1x1 convolution before the pooling, which is not a stage."""

CHANNELS_FIRST = ("EfficientFormer", "MlpMixer")
"""Classes whose tokens are (N, C, L) instead of (N, L, C)."""

MEAN_FIRST = ("ConvNeXt", "HorNet", "TinyViT")
"""Classes that average before a norm that takes maps as well."""

LAST_ONLY = {
    "EdgeNeXt": "normalises averages of its maps only, no maps",
    "EfficientFormer": "turns its last map into tokens, for images of 224x224 pixels only",
    "HiViT": "loses the maps of its earlier stages when it outputs them",
    "RevVisionTransformer": "has no out_indices and outputs the last block with two halves",
}
"""Classes of which only the last output can be had, and why."""

END_NORMS = {
    "PCPVT": "norm_after_stage3",
    "SVT": "norm_after_stage3",
    "VAN": "norm4",
    "ViTSAM": "channel_reduction.3",
    "XCiT": "norm",
}
"""Norm of the last map in the classes that do not call it ``norm`` and the number of its output."""

MOST_OUTPUTS = 64
"""Larger than the number of outputs of any backbone."""


class OpenMMLabAdapter(BackboneAdapter):
    """Adapter of a backbone that returns the outputs that ``out_indices`` selects.

    The selection is changed for the time of a forward pass only. An output norm that the backbone
    was not built with is left out, so that a map of any stage needs no weights that a checkpoint
    lacks.
    """

    library = "mmpretrain"

    _ranks: tuple[int, ...] = (2, 4)

    @property
    def _selector(self) -> str:
        """Name of the attribute that selects the outputs."""
        kind = type(self.backbone).__name__
        if kind in LAST_ONLY:
            raise InputError(
                f"{self.name} of mmpretrain {LAST_ONLY[kind]}: a task that needs other outputs of "
                "it is not possible; choose another network"
            )
        return next(name for name in SELECTORS if hasattr(self.backbone, name))

    @cached_property
    def _measured(self) -> tuple[Stage, ...]:
        return pyramid(self._measure())

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages by stride, measured once on a small black image."""
        return self._measured

    def maps(
        self, images: Tensor, stages: Sequence[int] | None = None, *, norm: str = "last"
    ) -> list[Tensor]:
        """Compute maps of the selected outputs, see :meth:`BackboneAdapter.maps`."""
        self.check_norm(norm)
        chosen = self.chosen(stages)
        places = sorted({stage.place for stage in chosen})
        found = self._forward(images, places, **self._map_type(norm))
        by_place = dict(zip(places, found, strict=True))
        return [self.checked(by_place[stage.place], stage, images) for stage in chosen]

    def unnormalised(self, images: Tensor, stage: int) -> Tensor:
        """Compute a map without its output norm, see :meth:`BackboneAdapter.unnormalised`."""
        (chosen,) = self.chosen([stage])
        kind = type(self.backbone).__name__
        name = END_NORMS.get(kind, f"norm{chosen.place}")
        # In the classes of the table, the norms of earlier maps stand between the stages.
        inside = kind in END_NORMS and chosen != self.stages[-1]
        with _bypassed(None if inside else dict(self.backbone.named_modules()).get(name)):
            return super().unnormalised(images, stage)

    def final(self, images: Tensor) -> Tensor:
        """Compute the last output of the backbone, see :meth:`BackboneAdapter.final`.

        ConvNeXt and others average before their last norm; here the map passes it.
        """
        averages = type(self.backbone).__name__ in MEAN_FIRST
        return self._last(images, **(dict(gap_before_final_norm=False) if averages else {}))

    def vector(self, images: Tensor) -> Tensor:
        """Average the last output, or return it as it is if the backbone pools itself."""
        x = self._last(images)
        if x.ndim == 3:
            return x.mean(dim=1)
        return x if x.ndim == 2 else x.mean(dim=(2, 3))

    def _last(self, images: Tensor, **settings: Any) -> Tensor:
        with _set(self.backbone, settings):
            x = forward_whole(self.backbone, images)
        x = x[-1] if isinstance(x, (tuple, list)) and len(x) else x
        if isinstance(x, Tensor) and x.ndim == 3 and self.layout(x) == "NCL":
            return x.transpose(1, 2)
        if not isinstance(x, Tensor) or x.ndim not in self._ranks:
            raise self.misfit(x, "a map (N, C, h, w) or a vector (N, C)")
        return x

    def layout(self, x: Tensor) -> str:
        """Return NCL for the classes whose tokens come last."""
        channels_first = x.ndim == 3 and type(self.backbone).__name__ in CHANNELS_FIRST
        return "NCL" if channels_first else super().layout(x)

    @property
    def sizes(self) -> InputSizes:
        """Any size, as far as is known; Swin pads maps smaller than its window if it is told to."""
        pads = "pad_small_map" in signature(type(self.backbone).__init__).parameters
        return InputSizes(any_size=(("pad_small_map", True),) if pads else ())

    def default_stage(self) -> int:
        """Return the last selected stage, or the last of all if the selection is of no stage."""
        selected: Any = getattr(self.backbone, self._selector)
        place = selected if isinstance(selected, int) else max(selected, default=-1)
        known = [stage.index for stage in self.stages if stage.place == place]
        return known[0] if known else super().default_stage()

    def _map_type(self, norm: str) -> dict[str, Any]:
        # ConvNeXt averages before its last norm, as its classifier wants it.
        wanted = dict(gap_before_final_norm=False, reshape_last_feat=True, out_type="featmap")
        return {name: value for name, value in wanted.items() if hasattr(self.backbone, name)}

    def _forward(self, images: Tensor, places: Sequence[int], **settings: Any) -> list[Tensor]:
        backbone: Any = self.backbone
        if type(backbone).__name__ == "DenseNet":
            return self._dense_blocks(images, places)
        settings[self._selector] = list(places)
        with _set(backbone, settings), _missing_norms(backbone, places):
            x = forward_whole(backbone, images)
        return list(x) if isinstance(x, (tuple, list)) else [x]

    def _dense_blocks(self, images: Tensor, places: Sequence[int]) -> list[Tensor]:
        """Return the maps of DenseNet's blocks, the last one normalised.

        mmpretrain outputs them after the transition to the next block, at twice the stride of the
        same stage in other libraries.
        """
        backbone: Any = self.backbone
        found: list[Tensor] = []
        hooks = [b.register_forward_hook(lambda *a: found.append(a[2])) for b in backbone.stages]
        try:
            with _set(backbone, {self._selector: [len(hooks) - 1]}):
                last = backbone(images)[-1]
        finally:
            for hook in hooks:
                hook.remove()
        found[-1] = last
        return [found[place] for place in places if place < len(found)]

    def _measure(self) -> list[Stage]:
        assert self._selector
        found, side = measured(
            self, lambda x: self._forward(x, range(MOST_OUTPUTS), **self._map_type("none"))
        )
        if type(self.backbone).__name__ in HEAD_LAYERS:
            found = found[:-1]
        return deepest(self, found, side, by_layer=self._by_layer)

    @property
    def _by_layer(self) -> bool:
        """Whether the backbone counts its layers, several of which make up a stage."""
        return hasattr(self.backbone, "layers") and not hasattr(self.backbone, "OUT_TYPES")


class TransformerAdapter(OpenMMLabAdapter):
    """Adapter of mmpretrain's plain transformers, which have an ``out_type``."""

    _ranks = (2, 3, 4)

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens in front of the patches, as mmpretrain states it."""
        return int(getattr(self.backbone, "num_extra_tokens", 0))

    @property
    def cls_index(self) -> int | None:
        """0, or None without [CLS]."""
        return 0 if self.prefix_tokens and self.backbone.cls_token is not None else None

    @property
    def trains_cls(self) -> bool:
        """False for BEiT."""
        return self.cls_index is not None and not averages_patches(self.backbone)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Blocks of the transformer."""
        backbone: Any = self.backbone
        blocks = getattr(backbone, "layers", None)
        projection = getattr(getattr(backbone, "patch_embed", None), "projection", None)
        if blocks is None or not isinstance(projection, nn.Conv2d):
            return super().stages
        stride = projection.stride[0]
        return tuple(
            Stage(place, backbone.embed_dims, stride, f"layers.{place}", place)
            for place in range(len(blocks))
        )

    @property
    def sizes(self) -> InputSizes:
        """Any size, padded to whole patches; with BEiT's relative positions, one size only."""
        backbone: Any = self.backbone
        stride = self.strides[0]
        if any(name.endswith("relative_position_index") for name, _ in backbone.named_buffers()):
            rows, columns = backbone.patch_resolution
            return InputSizes(stride, (rows * stride, columns * stride))
        return InputSizes(stride)

    def tokens(self, images: Tensor, blocks: int = 1) -> list[Tensor]:
        """Compute tokens with ``out_type='raw'``, see :meth:`BackboneAdapter.tokens`."""
        number = len(self.stages)
        if blocks > number:
            raise InputError(
                f"model.blocks={blocks}: {self.name} has {number} blocks; choose at most {number}"
            )
        outputs = self._forward(images, range(number - blocks, number), out_type="raw")
        if getattr(self.backbone, "final_norm", False):
            # mmpretrain normalises the last block only; DINO's protocol normalises each one.
            backbone: Any = self.backbone
            outputs[:-1] = [backbone.norm1(output) for output in outputs[:-1]]
        return outputs

    def vector(self, images: Tensor) -> Tensor:
        """Compute the output that the backbone was built with, or [CLS], or the mean patch."""
        backbone: Any = self.backbone
        kind = backbone.out_type
        if type(backbone).__name__ in LAST_ONLY:
            return super().vector(images)
        if kind not in ("cls_token", "avg_featmap"):
            kind = "avg_featmap" if self.cls_index is None else "cls_token"
        if kind == "avg_featmap" and not hasattr(backbone, "ln2"):
            return self.tokens(images)[-1][:, self.prefix_tokens :].mean(dim=1)
        x: Any = self._forward(images, [len(self.stages) - 1], out_type=kind)[-1]
        # The distilled DeiT gives [CLS] and the distillation token, whose logits are averaged.
        return torch.stack(x).mean(dim=0) if isinstance(x, tuple) else x

    def _map_type(self, norm: str) -> dict[str, Any]:
        kind: dict[str, Any] = {"out_type": "featmap"}
        if norm == "none" and getattr(self.backbone, "final_norm", False):
            kind["final_norm"] = False
        return kind

    def maps(
        self, images: Tensor, stages: Sequence[int] | None = None, *, norm: str = "last"
    ) -> list[Tensor]:
        """Compute maps with ``out_type='featmap'``, see :meth:`BackboneAdapter.maps`."""
        maps = super().maps(images, stages, norm=norm)
        backbone: Any = self.backbone
        if norm == "all" and getattr(backbone, "final_norm", False):
            last = len(self.stages) - 1
            for place, stage in enumerate(self.chosen(stages)):
                if stage.place != last:
                    maps[place] = over_channels(backbone.norm1, maps[place])
        return maps


@contextmanager
def _set(backbone: Any, settings: Mapping[str, Any]) -> Iterator[None]:
    """Set attributes of a backbone for a while."""
    before = {name: getattr(backbone, name) for name in settings}
    for name, value in settings.items():
        setattr(backbone, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(backbone, name, value)


@contextmanager
def _bypassed(norm: nn.Module | None) -> Iterator[None]:
    """Let the input of a norm pass as it is."""
    handle = norm.register_forward_hook(lambda *call: call[1][0]) if norm is not None else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


@contextmanager
def _missing_norms(backbone: nn.Module, places: Sequence[int]) -> Iterator[None]:
    """Let outputs without a norm of their own pass as they are, where others have one."""
    names = [f"norm{place}" for place in places]
    has = any(f"norm{place}" in backbone._modules for place in range(MOST_OUTPUTS))
    added = [name for name in names if has and name not in backbone._modules]
    for name in added:
        # Not as a child: the identity must not appear in the state or among the modules.
        object.__setattr__(backbone, name, nn.Identity())
    try:
        yield
    finally:
        for name in added:
            object.__delattr__(backbone, name)
