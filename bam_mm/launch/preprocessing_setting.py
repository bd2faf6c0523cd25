"""The setting ``preprocessing`` of a config, see ``docs/preprocessing.md``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from bam_mm.checkpoint.geometry import GEOMETRY_KEYS
from bam_mm.errors import InputError
from bam_mm.variables.entries import plain

CHOICES = ("auto", "model", "config")
"""Values of ``preprocessing.normalisation`` and ``preprocessing.geometry``."""

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "box", "lanczos", "hamming")
"""Names that the resizing steps of the libraries know."""


@dataclass(frozen=True)
class Setting:
    """The setting ``preprocessing`` of a config.

    Attributes:
        normalisation: ``auto``, ``model`` or ``config``.
        geometry: ``auto``, ``model`` or ``config``.
        mean: Mean of each channel, for pixel values in [0, 255], which replaces all others.
        std: Standard deviation of each channel; set together with ``mean``.
        channels: Order in which the model takes the channels, ``rgb`` or ``bgr``, which is that of
            ``mean`` and ``std``; None is ``rgb``.
        size: Side of the centre crop in pixels, which replaces all others.
        crop_fraction: Size of the crop divided by the short side of the resized image.
        interpolation: Name of the interpolation.
        squash: Whether images are resized to a square.
        source: Where ``mean`` and ``std`` come from, for messages.
        geometry_source: Where the size of test images comes from, for messages.
    """

    normalisation: str = "auto"
    geometry: str = "auto"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str | None = None
    size: int | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    squash: bool | None = None
    source: str = "the setting preprocessing"
    geometry_source: str = ""

    @classmethod
    def of(cls, value: Any) -> Setting:
        """Read the setting.

        Args:
            value: ``auto``, ``model`` or ``config`` for everything, a dict of the attributes, or
                None for ``auto``.

        Raises:
            InputError: If a key or a value is wrong.
        """
        if value is None or isinstance(value, str):
            value = {} if value is None else {"normalisation": value, "geometry": value}
        known = list(cls.__dataclass_fields__)
        if not isinstance(value, Mapping):
            raise InputError(
                f"preprocessing={value!r}: set one of {', '.join(CHOICES)}, or a dict with some of "
                f"{', '.join(known)}"
            )
        for key in value:
            if key not in known:
                close = get_close_matches(str(key), known, n=1, cutoff=0.5) or known
                raise InputError(f"preprocessing.{key}: no such setting; use {', '.join(close)}")
        entries: dict[str, Any] = {k: plain(v) for k, v in value.items() if v is not None}
        entries = {k: tuple(v) if isinstance(v, list) else v for k, v in entries.items()}
        setting = cls(**entries)
        setting._check()
        return setting

    def wishes(self) -> dict[str, Any]:
        """Return the settings that ask for other values than those of the config."""
        named = ("mean", "std", "channels", *GEOMETRY_KEYS)
        wishes = {k: getattr(self, k) for k in named if getattr(self, k) is not None}
        choices = {k: getattr(self, k) for k in ("normalisation", "geometry")}
        return {**{k: plain(v) for k, v in wishes.items()}, **_only(choices, "model")}

    def _check(self) -> None:
        for name, choices in (
            ("normalisation", CHOICES),
            ("geometry", CHOICES),
            ("channels", ("rgb", "bgr")),
        ):
            if getattr(self, name) not in (*choices, None):
                raise InputError(
                    f"preprocessing.{name}={getattr(self, name)!r}: choose one of "
                    f"{', '.join(choices)}"
                )
        for name, least in (("mean", None), ("std", 0)):
            values = getattr(self, name)
            if (self.mean is None) != (self.std is None) or (
                values is not None and not _three_numbers(values, least)
            ):
                raise InputError(
                    f"preprocessing.{name}={plain(values)}: set mean and std together, each as "
                    "three numbers for pixel values in [0, 255], as in "
                    '--cfg-options preprocessing.mean="[127.5,127.5,127.5]" '
                    'preprocessing.std="[127.5,127.5,127.5]"'
                )
        if self.channels is not None and self.mean is None:
            raise InputError(
                f"preprocessing.channels={self.channels}: nothing uses it without mean and std in "
                "this order; set preprocessing.mean and preprocessing.std too"
            )
        if self.size is not None and (not isinstance(self.size, int) or self.size < 1):
            raise InputError(
                f"preprocessing.size={self.size!r}: set the side of the crop in pixels, as in "
                "preprocessing.size=224"
            )
        fraction = self.crop_fraction
        if fraction is not None and not (_is_number(fraction) and 0 < fraction <= 1):
            raise InputError(
                f"preprocessing.crop_fraction={fraction!r}: set the size of the crop divided by "
                "the short side of the resized image, above 0 and at most 1"
            )
        if self.interpolation not in (None, *INTERPOLATIONS):
            raise InputError(
                f"preprocessing.interpolation={self.interpolation!r}: choose one of "
                f"{', '.join(INTERPOLATIONS)}"
            )


def _only(values: Mapping[str, Any], wanted: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value == wanted}


def _three_numbers(values: Any, least: float | None) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(_is_number(value) and (least is None or value > least) for value in values)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
