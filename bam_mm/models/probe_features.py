"""Features of a frozen backbone that linear probes and kNN use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bam_mm.errors import InputError
from bam_mm.models.adapters import adapter_of
from bam_mm.registry import MODELS, registered_class

FEATURES = ("cls", "cls+mean", "mean", "own")
"""Features of a probe; ``own`` is the library's own pooled feature, before its classifier."""


@dataclass(frozen=True)
class ProbeFeature:
    """One of several features of a backbone, which is computed with the others in one forward pass.

    Attributes:
        feature: Parts of the feature, see :func:`probe_feature`.
        blocks: Number of last blocks whose [CLS] tokens are used.
    """

    feature: str
    blocks: int = 1

    @classmethod
    def of(cls, name: str) -> ProbeFeature:
        """Read the name of a feature.

        Args:
            name: ``cls``, ``cls+mean`` or ``mean``, with the number of blocks after ``cls`` if
                there are several: ``cls4`` for the [CLS] tokens of the last four blocks.

        Raises:
            InputError: If there is no such feature.
        """
        found = re.fullmatch(r"mean|cls([1-9]\d*)?(\+mean)?", str(name))
        if found is None:
            raise InputError(
                f"model.features has {name!r}: choose among cls, mean, cls+mean and, for the "
                "[CLS] tokens of the last four blocks, cls4 or cls4+mean"
            )
        kind = "mean" if name == "mean" else f"cls{found[2] or ''}"
        return cls(kind, int(found[1] or 1))

    @property
    def parts(self) -> int:
        """Number of tokens in the feature: it is that many times the width of a token wide."""
        return 1 if self.feature == "mean" else self.blocks + ("mean" in self.feature)

    def __str__(self) -> str:
        return self.feature.replace("cls", f"cls{self.blocks}" if self.blocks > 1 else "cls")


def build_token_backbone(config: Mapping, blocks: int) -> nn.Module:
    """Build a backbone that outputs the tokens or the map that a probe needs.

    A transformer of mmpretrain is always built to output all tokens (``out_type='raw'``) of its
    last blocks, even if the config sets another ``out_type``. Other backbones are built unchanged.

    Args:
        config: Config of the backbone.
        blocks: Number of last blocks whose tokens are needed.

    Returns:
        The backbone.

    Raises:
        InputError: If a transformer of mmpretrain has fewer blocks.
    """
    config = dict(config)
    kind = registered_class(config["type"])
    if "raw" in getattr(kind, "OUT_TYPES", ()):
        config.update(out_type="raw", out_indices=list(range(-blocks, 0)))
        try:
            return MODELS.build(config)
        except AssertionError as error:
            if f"out_indices -{blocks}" not in str(error):
                raise
            raise InputError(
                f"model.backbone: {kind.__name__} has fewer than {blocks} blocks: lower "
                f"model.blocks, or the number after cls in model.features (cls{blocks})"
            ) from None
    return MODELS.build(config)


def frozen_feature(backbone: nn.Module, images: Tensor, feature: str, blocks: int) -> Tensor:
    """Compute one feature vector per image.

    Args:
        backbone: Backbone from :func:`build_token_backbone`.
        images: (N, 3, H, W) normalised images.
        feature: Parts of the feature, see :func:`probe_feature`, or ``own``.
        blocks: Number of last blocks of a transformer.

    Returns:
        (N, D) features.

    Raises:
        InputError: Same as in :func:`probe_feature`, or if the output has another shape than the
            library of the backbone states, see
            :class:`~bam_mm.models.adapters.contract.BackboneAdapter`.
    """
    if feature == "own":
        return adapter_of(backbone).vector(_laid_out(backbone, images))
    return several_features(backbone, images, [ProbeFeature(feature, blocks)])[0]


def several_features(
    backbone: nn.Module, images: Tensor, features: Sequence[ProbeFeature]
) -> list[Tensor]:
    """Compute several feature vectors per image in one forward pass.

    Args:
        backbone: Backbone from :func:`build_token_backbone`.
        images: (N, 3, H, W) normalised images.
        features: The features.

    Returns:
        (N, D) features, each with a D of its own.

    Raises:
        InputError: Same as in :func:`frozen_feature`.
    """
    adapter = adapter_of(backbone)
    outputs = adapter.outputs(_laid_out(backbone, images), max(each.blocks for each in features))
    found = []
    for each in features:
        if adapter.prefix_tokens and adapter.cls_index is None and each.feature != "mean":
            raise InputError(
                f"model.feature={each.feature!r}: {adapter.name} has {adapter.prefix_tokens} "
                "registers and no [CLS] token; set model.feature=mean"
            )
        chosen = outputs[-each.blocks :]
        found.append(probe_feature(chosen, each.feature, prefix=adapter.prefix_tokens))
    return found


def _laid_out(backbone: nn.Module, images: Tensor) -> Tensor:
    """Announce the padding of images, and return them in the layout that is fast."""
    adapter = adapter_of(backbone)
    adapter.announce_padding(images)
    if images.device.type == "cpu" and adapter.library != "own":
        # Convolutions are faster with channels last, and their outputs follow. Someone's own module
        # may view a map as a vector, for which it must have channels first.
        return images.contiguous(memory_format=torch.channels_last)
    return images


def probe_feature(outputs: Sequence[Tensor], feature: str, *, prefix: int = 1) -> Tensor:
    """Combine the outputs of a backbone into one feature vector per image.

    Args:
        outputs: Tokens (N, L, C) of the last blocks after the norm, or one map (N, C, h, w).
        feature: Parts of the feature: ``cls`` for the [CLS] tokens of all blocks in ``outputs``,
            ``cls+mean`` for these and the mean patch of the last block (ViT-B of BAM and DINO), or
            ``mean`` for the mean patch or the mean of the map.
        prefix: Number of tokens in front of the patches; the first one is [CLS].

    Returns:
        (N, D) concatenated parts, where D is C times their number.

    Raises:
        InputError: If ``feature`` is unknown or ``own``, which no outputs hold, or needs a [CLS]
            token that does not exist.
    """
    last = outputs[-1]
    if feature not in FEATURES[:-1]:
        raise InputError(f"model.feature={feature!r}: choose one of {', '.join(FEATURES[:-1])}")
    if last.ndim == 4:
        last, prefix = last.flatten(2).transpose(1, 2), 0
    if feature != "mean" and (not prefix or last.ndim != 3):
        raise InputError(
            f"model.feature={feature!r}: this backbone returns {tuple(outputs[-1].shape)} and no "
            "[CLS] token; set model.feature=mean"
        )
    if last.ndim == 2:
        return last
    parts = [] if feature == "mean" else [tokens[:, 0] for tokens in outputs]
    if feature != "cls":
        parts.append(last[:, prefix:].mean(dim=1))
    return torch.cat(parts, dim=1)
