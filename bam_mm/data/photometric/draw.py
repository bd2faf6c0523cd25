"""Random parameters of photometric augmentation, shared by all places where it may run.

Drawing the parameters is separate from applying them. :func:`draw` draws the parameters of each
image with NumPy. Workers apply them to one image (:mod:`~bam_mm.data.photometric.in_workers`), or
the data preprocessor applies them to a whole batch on the device
(:mod:`~bam_mm.data.photometric.on_device`). Both therefore follow the same distribution by
construction, and tests compare their results for the same draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bam_mm.errors import InputError

PLACES = ("auto", "worker", "device")


@dataclass(frozen=True)
class PhotometricSpec:
    """Probabilities and ranges of BYOL's photometric augmentation for one view.

    The defaults are those of BYOL's first global view (Grill et al., 2020, appendix B; BAM,
    section 4.1).

    Attributes:
        jitter_prob: Probability of colour jitter.
        brightness: Half width b of the range [1 - b, 1 + b] of the brightness factor.
        contrast: Half width c of the range [1 - c, 1 + c] of the contrast factor.
        saturation: Half width s of the range [1 - s, 1 + s] of the saturation factor.
        hue: Half width h of the range [-h, h] of the hue shift, in turns of the colour circle (at
            most 0.5).
        gray_prob: Probability of conversion to grey.
        blur_prob: Probability of Gaussian blur.
        blur_sigma: Range of the blur's standard deviation in pixels.
        solarize_prob: Probability of inverting all values from 128 upwards.
    """

    jitter_prob: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    gray_prob: float = 0.2
    blur_prob: float = 1.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_prob: float = 0.0

    @classmethod
    def of(cls, spec: PhotometricSpec | Mapping) -> PhotometricSpec:
        """Return ``spec`` itself, or build one from a config's dict.

        Raises:
            InputError: If the dict has a key that is not a field.
        """
        if isinstance(spec, PhotometricSpec):
            return spec
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(spec) - known):
            raise InputError(
                f"photometric augmentation has no field {unknown}; its fields are {sorted(known)}"
            )
        fields: dict[str, Any] = dict(spec.items())
        if "blur_sigma" in fields:
            fields["blur_sigma"] = tuple(fields["blur_sigma"])
        return cls(**fields)


@dataclass
class PhotometricDraw:
    """Random parameters of n images; the first dimension of every array is n.

    Attributes:
        jitter: (n,) bool, whether colours are jittered.
        factors: (n, 4) float, factors of brightness, contrast and saturation, and the hue shift.
        order: (n, 4) int, order in which these four operations are applied.
        gray: (n,) bool, whether the image is converted to grey.
        blur: (n,) float, standard deviation of the blur in pixels, 0 for no blur.
        solarize: (n,) bool, whether the image is solarized.
    """

    jitter: np.ndarray
    factors: np.ndarray
    order: np.ndarray
    gray: np.ndarray
    blur: np.ndarray
    solarize: np.ndarray


def draw(spec: PhotometricSpec, n: int) -> PhotometricDraw:
    """Draw the parameters of n images from NumPy's global state (mmengine seeds it per worker).

    Args:
        spec: Probabilities and ranges to draw from.
        n: Number of images.
    """
    spread = np.array([spec.brightness, spec.contrast, spec.saturation, spec.hue])
    centre = np.array([1.0, 1.0, 1.0, 0.0])
    low = np.maximum(centre - spread, [0.0, 0.0, 0.0, -0.5])
    uniform = np.random.random_sample
    blurred = uniform(n) < spec.blur_prob
    return PhotometricDraw(
        jitter=uniform(n) < spec.jitter_prob,
        factors=low + (centre + spread - low) * uniform((n, 4)),
        order=uniform((n, 4)).argsort(axis=1),
        gray=uniform(n) < spec.gray_prob,
        blur=np.where(blurred, np.random.uniform(*spec.blur_sigma, size=n), 0.0),
        solarize=uniform(n) < spec.solarize_prob,
    )


def specs_of_views(
    num_global: int, num_local: int, photometric: Sequence[Mapping | PhotometricSpec] | None = None
) -> list[PhotometricSpec]:
    """Return one spec per view.

    Args:
        num_global: Number of global views.
        num_local: Number of local views.
        photometric: One entry per view, or None for BYOL's settings: global views alternate between
            a blur probability of 1.0 without solarization, and a blur probability of 0.1 with a
            solarization probability of 0.2. Local views have a blur probability of 0.5.

    Raises:
        InputError: If the number of entries is not the number of views.
    """
    if photometric is None:
        byol = [PhotometricSpec(), PhotometricSpec(blur_prob=0.1, solarize_prob=0.2)]
        specs = [byol[view % 2] for view in range(num_global)]
        return specs + [PhotometricSpec(blur_prob=0.5)] * num_local
    specs = [PhotometricSpec.of(spec) for spec in photometric]
    if len(specs) != num_global + num_local:
        raise InputError(
            f"photometric has {len(specs)} entries, but the view layout has {num_global} global "
            f"and {num_local} local views: set one entry per view, or None for BYOL's settings"
        )
    return specs


def resolve_place(place: str) -> str:
    """Return where the augmentation runs: ``auto`` is the GPU if there is one, else the workers.

    With a GPU, training waits for the workers, so they only decode and crop. Without a GPU,
    training waits for its own computation, and the workers run next to it.

    Args:
        place: ``auto``, ``worker`` or ``device``.

    Raises:
        InputError: If ``place`` is not one of these.
    """
    if place not in PLACES:
        raise InputError(f"photometric_place={place!r}: choose one of {', '.join(PLACES)}")
    if place == "auto":
        return "device" if torch.cuda.is_available() else "worker"
    return place
