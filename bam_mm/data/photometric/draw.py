"""Photometric augmentation: what is drawn, once for every place where it may run.

The draw is apart from the act. :func:`draw` makes per-image parameters with NumPy; the workers
apply them to one image (:mod:`~bam_mm.data.photometric.in_workers`), the data preprocessor to a
whole batch on the device (:mod:`~bam_mm.data.photometric.on_device`). All therefore follow the same
draws by construction; tests compare what each makes of a draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bam_mm.errors import InputError

PLACES = ("auto", "worker", "device")


@dataclass(frozen=True)
class PhotometricSpec:
    """Probabilities and ranges of BYOL's photometric augmentations for one view.

    Defaults are BYOL's for a first global view (Grill et al., 2020, appendix B; BAM, section 4.1).

    Attributes:
        jitter_prob: Probability of colour jitter.
        brightness: Factor drawn from [1 - b, 1 + b].
        contrast: Factor drawn from [1 - c, 1 + c].
        saturation: Factor drawn from [1 - s, 1 + s].
        hue: Shift drawn from [-h, h], in turns of the colour circle (at most 0.5).
        gray_prob: Probability of turning grey.
        blur_prob: Probability of Gaussian blur.
        blur_sigma: Range of the blur's standard deviation in pixels.
        solarize_prob: Probability of inverting all values from 128 up.
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
        """Return ``spec`` itself, or build one from a config's dict."""
        if isinstance(spec, cls):
            return spec
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(spec) - known):
            raise InputError(
                f"photometric augmentation has no field {unknown}; its fields are {sorted(known)}"
            )
        return cls(**{k: tuple(v) if k == "blur_sigma" else v for k, v in spec.items()})


@dataclass
class PhotometricDraw:
    """Parameters drawn for n images; every array's first dimension is n.

    Attributes:
        jitter: (n,) bool.
        factors: (n, 4) brightness, contrast, saturation factors and hue shift.
        order: (n, 4) int, the order in which these four are applied.
        gray: (n,) bool.
        blur: (n,) float, standard deviation in pixels, 0 where there is no blur.
        solarize: (n,) bool.
    """

    jitter: np.ndarray
    factors: np.ndarray
    order: np.ndarray
    gray: np.ndarray
    blur: np.ndarray
    solarize: np.ndarray


def draw(spec: PhotometricSpec, n: int) -> PhotometricDraw:
    """Draw parameters for n images from NumPy's global state (which mmengine seeds per worker)."""
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
    """One spec a view.

    Args:
        num_global: Number of global views.
        num_local: Number of local views.
        photometric: One entry a view; None for BYOL's: global views alternate between blur 1.0
            without solarization and blur 0.1 with solarization 0.2, local views blur 0.5.

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
            f"and {num_local} local views: give one entry a view, or None for BYOL's"
        )
    return specs


def resolve_place(place: str) -> str:
    """Where the augmentation runs: ``auto`` means on the GPU if there is one, else in the workers.

    With a GPU, training waits for the workers, so they only decode and crop. Without a GPU, training
    waits for its own step, beside which the workers run.

    Raises:
        InputError: If ``place`` is none of auto, worker, device.
    """
    if place not in PLACES:
        raise InputError(f"photometric_place={place!r}: choose one of {', '.join(PLACES)}")
    if place == "auto":
        return "device" if torch.cuda.is_available() else "worker"
    return place
