"""Backbones of mmpretrain, mmdet and mmseg: through their ``out_indices`` and ``out_type``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters.contract import BackboneAdapter, InputSizes, Stage, pyramid

SELECTORS = ("out_indices", "out_scales")
"""Attributes in which a backbone keeps the indices of its outputs; MViT has scales."""

HEAD_LAYERS = ("EfficientNet", "EfficientNetV2", "MobileNetV2")
"""Classes whose last output is the 1x1 convolution before the pooling, which is not a stage."""

MOST_OUTPUTS = 64
"""Larger than the number of outputs of any backbone."""

TRIED = (64, 224)
"""Sides in pixels of the image on which widths and strides are measured: the first that works."""


class OpenMMLabAdapter(BackboneAdapter):
    """Adapter of a backbone that returns the outputs that ``out_indices`` selects.

    The selection is changed for the time of a forward pass only. An output norm that the backbone
    was not built with is left out, so that a map of any stage needs no weights that a checkpoint
    lacks.
    """

    library = "mmpretrain"

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__(backbone)
        self._measured: tuple[Stage, ...] | None = None

    @property
    def _selector(self) -> str:
        return next(name for name in SELECTORS if hasattr(self.backbone, name))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stages by stride, measured once on a small black image."""
        if self._measured is None:
            self._measured = pyramid(self._measure())
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

    def final(self, images: Tensor) -> Tensor:
        """Compute the last output of the backbone, see :meth:`BackboneAdapter.final`."""
        x = self.backbone(images)
        x = x[-1] if isinstance(x, (tuple, list)) and len(x) else x
        if not isinstance(x, Tensor) or x.ndim not in (2, 3, 4):
            raise self.misfit(x, "a map (N, C, h, w), tokens (N, L, C) or a vector (N, C)")
        return x

    def vector(self, images: Tensor) -> Tensor:
        """Average the last output, or return it as it is if the backbone pools itself."""
        x = self.final(images)
        if x.ndim == 3:
            return x.mean(dim=1)
        return x if x.ndim == 2 else x.mean(dim=(2, 3))

    def _map_type(self, norm: str) -> dict[str, Any]:
        # ConvNeXt averages before its last norm, as its classifier wants it.
        pools = getattr(self.backbone, "gap_before_final_norm", None)
        return {} if pools is None else {"gap_before_final_norm": False}

    def _forward(self, images: Tensor, places: Sequence[int], **settings: Any) -> list[Tensor]:
        backbone: Any = self.backbone
        settings[self._selector] = list(places)
        with _set(backbone, settings), _missing_norms(backbone, places):
            x = backbone(images)
        return list(x) if isinstance(x, (tuple, list)) else [x]

    @torch.no_grad()
    def _measure(self) -> list[Stage]:
        backbone: Any = self.backbone
        device = next((p.device for p in backbone.parameters()), torch.device("cpu"))
        were = {module: module.training for module in backbone.modules()}
        for module in were:
            module.training = False
        try:
            for side in TRIED:
                image = torch.zeros(1, 3, side, side, device=device)
                try:
                    found = self._forward(image, range(MOST_OUTPUTS), **self._map_type("none"))
                    break
                except (AssertionError, RuntimeError, ValueError) as error:
                    if side == TRIED[-1]:
                        reason = (str(error).strip().splitlines() or [""])[0]
                        raise InputError(
                            f"{self.name} fails on an image of {side}x{side} pixels, on which its "
                            f"maps are measured: {type(error).__name__}: {reason}"
                        ) from error
        finally:
            for module, mode in were.items():
                module.training = mode
        return self._deepest(found, side)

    def _deepest(self, found: Sequence[Any], side: int) -> list[Stage]:
        """Return the last output of each stride; every output of a transformer."""
        if type(self.backbone).__name__ in HEAD_LAYERS:
            found = found[:-1]
        stages: list[Stage] = []
        for place, x in enumerate(found):
            if not isinstance(x, Tensor) or x.ndim != 4 or side % x.shape[3]:
                raise self.misfit(x, "a map (N, C, h, w)", f"output {place}")
            stage = Stage(place, x.shape[1], side // x.shape[3], f"output {place}", place)
            grouped = stages and stages[-1].stride == stage.stride and self._by_layer
            stages[len(stages) - bool(grouped) :] = [stage]
        return stages

    @property
    def _by_layer(self) -> bool:
        """Whether the backbone counts its layers, several of which make up a stage."""
        return hasattr(self.backbone, "layers") and not hasattr(self.backbone, "OUT_TYPES")


class TransformerAdapter(OpenMMLabAdapter):
    """Adapter of mmpretrain's plain transformers, which have an ``out_type``."""

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens in front of the patches, as mmpretrain states it."""
        return int(getattr(self.backbone, "num_extra_tokens", 0))

    @property
    def cls_index(self) -> int | None:
        """0, or None without [CLS]."""
        return 0 if self.prefix_tokens and self.backbone.cls_token is not None else None

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
        """Any size; the patch embedding pads to whole patches."""
        return InputSizes(self.strides[0])

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
        if kind not in ("cls_token", "avg_featmap"):
            kind = "avg_featmap" if self.cls_index is None else "cls_token"
        if kind == "avg_featmap" and not hasattr(backbone, "ln2"):
            return self.tokens(images)[-1][:, self.prefix_tokens :].mean(dim=1)
        return self._forward(images, [len(self.stages) - 1], out_type=kind)[-1]

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
                    channels_last = maps[place].permute(0, 2, 3, 1)
                    maps[place] = backbone.norm1(channels_last).permute(0, 3, 1, 2)
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
