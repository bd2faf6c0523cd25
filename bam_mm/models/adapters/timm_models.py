"""Backbones of timm: through ``forward_intermediates``, ``forward_features`` and its head."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from copy import copy
from functools import cached_property
from typing import Any, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters.contract import BackboneAdapter, InputSizes, Stage, pyramid
from bam_mm.models.map_norm import over_channels


class TimmAdapter(BackboneAdapter):
    """Adapter of mmpretrain's ``TIMMBackbone``, its subclasses, and bare models of timm.

    Stages come from timm's ``feature_info``. timm's Swin computes in NHWC and says so
    (``output_fmt``); its outputs are permuted.
    """

    library = "timm"

    @property
    def model(self) -> Any:
        """The model of timm."""
        return getattr(self.backbone, "timm_model", self.backbone)

    @property
    def name(self) -> str:
        """Class of the model and its name in timm."""
        settings = getattr(self.model, "pretrained_cfg", None) or {}
        known = settings.get("architecture", "")
        return f"timm's {type(self.model).__name__}" + (f" ({known})" if known else "")

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Maps of ``feature_info``, without the stem of a pyramid."""
        info = getattr(self.model, "feature_info", None)
        entries = info if isinstance(info, list) else getattr(info, "info", None)
        if not entries or not hasattr(self.model, "forward_intermediates"):
            raise InputError(
                f"{self.name} has no intermediate maps (forward_intermediates), which this task "
                "needs: choose another model of timm"
            )
        return pyramid(
            [
                Stage(place, entry["num_chs"], entry["reduction"], entry["module"], place)
                for place, entry in enumerate(entries)
            ]
        )

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens in front of the patches, as timm states it."""
        return int(getattr(self.model, "num_prefix_tokens", 0) or 0)

    @property
    def cls_index(self) -> int | None:
        """0, or None for a model without [CLS], whose prefix tokens are registers."""
        if not self.prefix_tokens or getattr(self.model, "cls_token", None) is None:
            return None
        return 0

    @property
    def trains_cls(self) -> bool:
        """False for BEiT, whose losses are on patches."""
        return self.cls_index is not None and type(self.model).__name__ != "Beit"

    @cached_property
    def class_attention(self) -> bool:
        """Whether [CLS] exists only after the last block, as in CaiT and XCiT."""
        return bool(self.prefix_tokens) and not _takes(
            self.model.forward_intermediates, "return_prefix_tokens"
        )

    @property
    def token_blocks(self) -> int:
        """1 with class attention, else all blocks."""
        return 1 if self.class_attention else super().token_blocks

    @property
    def sizes(self) -> InputSizes:
        """Sizes that the patch embedding takes."""
        embed = getattr(self.model, "patch_embed", None)
        patch = getattr(embed, "patch_size", None)
        size = getattr(embed, "img_size", None)
        if patch is None or size is None:
            return InputSizes()
        patch = patch[0] if isinstance(patch, Sequence) else patch
        makes = type(self.model).__init__
        known = {
            name: hasattr(self.model, name) or (hasattr(embed, name) and _takes(makes, name))
            for name in ("dynamic_img_size", "dynamic_img_pad")
        }
        # Distilled DeiT passes its arguments on to the vision transformer.
        known["dynamic_img_pad"] |= isinstance(self.model, VisionTransformer)
        any_size = (("dynamic_img_size", True),) if known["dynamic_img_size"] else ()
        padding = (("dynamic_img_pad", True),) if known["dynamic_img_pad"] else ()
        fixed = bool(getattr(embed, "strict_img_size", False))
        return InputSizes(
            patch,
            (size[0], size[1]) if fixed else None,
            any_size=any_size,
            padding=padding,
        )

    def layout(self, x: Tensor) -> str:
        """Return NHWC for models that state it as their ``output_fmt``."""
        nhwc = x.ndim == 4 and getattr(self.model, "output_fmt", "") == "NHWC"
        return "NHWC" if nhwc else super().layout(x)

    def maps(
        self, images: Tensor, stages: Sequence[int] | None = None, *, norm: str = "last"
    ) -> list[Tensor]:
        """Compute maps with ``forward_intermediates``, see :meth:`BackboneAdapter.maps`."""
        self.check_norm(norm)
        chosen = self.chosen(stages)
        places = sorted({stage.place for stage in chosen})
        last = places[-1] == self.stages[-1].place
        # timm applies the norm to every block of a transformer, to the last stage of a pyramid.
        alone = not self.isotropic or len(places) == 1
        with_norm = norm == "all" or (norm == "last" and last and alone)
        options = dict(norm=True) if with_norm and _has_norm(self.model) else {}
        found = self.model.forward_intermediates(
            images, indices=places, output_fmt="NCHW", intermediates_only=True, **options
        )
        by_place = dict(zip(places, found, strict=True))
        if norm == "last" and last and not alone:
            by_place[places[-1]] = over_channels(self._norm, by_place[places[-1]])
        ends = places if norm == "all" else places[-1:] if norm == "last" and last else []
        for place in ends:
            by_place[place] = self._ended(by_place[place])
        return [self.checked(by_place[stage.place], stage, images) for stage in chosen]

    def tokens(self, images: Tensor, blocks: int = 1) -> list[Tensor]:
        """Compute tokens after the final norm, see :meth:`BackboneAdapter.tokens`."""
        model = self.model
        if self.class_attention:
            if blocks != 1:
                raise InputError(
                    f"{self.name} has its [CLS] token after the last block only (class attention), "
                    f"not after the last {blocks}: set model.blocks=1"
                )
            return [self._checked_tokens(self._ended(model.forward_features(images)))]
        if not self.isotropic:
            return super().tokens(images, blocks)
        prefix = self.prefix_tokens
        outputs = model.forward_intermediates(
            images,
            indices=blocks,
            norm=True,
            output_fmt="NLC",
            intermediates_only=True,
            **(dict(return_prefix_tokens=True) if prefix else {}),
        )
        if prefix:
            outputs = [torch.cat([tokens, patches], dim=1) for patches, tokens in outputs]
        return [self._checked_tokens(self._ended(x)) for x in outputs]

    def final(self, images: Tensor) -> Tensor:
        """Compute the output of the model without pooling, see :meth:`BackboneAdapter.final`."""
        model, whole = self.model, cast(Any, self.backbone)
        x = whole(images) if model is not whole else model.forward_features(images)
        x = x[-1] if isinstance(x, (tuple, list)) else x
        if isinstance(x, Tensor) and x.ndim == 4 and self.layout(x) == "NHWC":
            x = x.permute(0, 3, 1, 2)
        if model is whole and isinstance(x, Tensor):
            x = self._ended(x)  # TIMMBackbone calls the head, whose pooling it has removed.
        widths = {model.num_features, getattr(model, "head_hidden_size", None)} - {None}
        fits = isinstance(x, Tensor) and x.ndim in (2, 3, 4)
        if not fits or x.shape[1 if x.ndim != 3 else 2] not in widths:
            raise self.misfit(x, f"an output with {sorted(widths)[0]} channels")
        return x

    def vector(self, images: Tensor) -> Tensor:
        """Compute timm's pre-logits feature, see :meth:`BackboneAdapter.vector`."""
        pool = self.own_pool
        if pool == "map":
            raise InputError(
                f"{self.name} pools by attention (global_pool='map'), whose weights a backbone "
                "does not have: use the mean of its tokens, model.feature=mean"
            )
        twin: Any = _shared(self.model)
        if hasattr(self.backbone, "timm_model"):
            twin.reset_classifier(0, pool)
        x = twin.forward_head(twin.forward_features(images), pre_logits=True)
        if x.ndim != 2:
            raise self.misfit(x, "a vector (N, D)")
        return x

    @cached_property
    def own_pool(self) -> str:
        """Pooling of the model in timm, such as ``token`` or ``avg``; mmpretrain removes it."""
        import timm

        own = self.model
        if hasattr(self.backbone, "timm_model"):
            with torch.device("meta"):
                own = timm.create_model(own.pretrained_cfg["architecture"])
        for owner in (own, getattr(own, "head", None)):
            pool = getattr(owner, "global_pool", None)
            pool = getattr(pool, "pool_type", pool)
            if isinstance(pool, str) and pool:
                return pool
        return "avg"

    @property
    def _norm(self) -> nn.Module:
        norm: Any = getattr(self.model, "norm", None)
        return norm if isinstance(norm, nn.Module) else nn.Identity()

    @cached_property
    def _end_norm(self) -> nn.Module | None:
        """The final norm of models that keep it behind the pooling: BEiT, ConvNeXt, CAFormer."""
        model = self.model
        if not isinstance(self._norm, nn.Identity):
            return None
        found = [
            getattr(model, "fc_norm", None),
            getattr(getattr(model, "head", None), "norm", None),
        ]
        norms = [n for n in found if isinstance(n, nn.Module) and not isinstance(n, nn.Identity)]
        return norms[0] if norms else None

    def _ended(self, x: Tensor) -> Tensor:
        norm = self._end_norm
        if norm is None or x.ndim == 2:
            return x
        return norm(x) if x.ndim == 3 else over_channels(norm, x)

    def _checked_tokens(self, x: Any) -> Tensor:
        if not isinstance(x, Tensor) or x.ndim != 3 or x.shape[2] != self.model.num_features:
            raise self.misfit(x, f"tokens (N, L, {self.model.num_features})")
        return x


def _takes(function: Any, name: str) -> bool:
    return name in inspect.signature(function).parameters


def _has_norm(model: Any) -> bool:
    """Return whether ``forward_intermediates`` can apply a final norm: Hiera's refuses it."""
    return type(model).__name__ not in ("Hiera", "HieraDet")


def _shared(module: nn.Module) -> nn.Module:
    """Copy the structure of a module; parameters and buffers are those of the original."""
    twin = copy(module)
    twin._modules = {
        name: child if child is None else _shared(child) for name, child in module._modules.items()
    }
    return twin
