"""Images of any size for backbones that cut them into patches."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate, pad

from bam_mm.errors import InputError

FITS = ("pad", "resize")
"""Ways to make the sides of the images multiples of the patch size."""


def check_fit(fit: str) -> None:
    """Check the argument ``fit_input``.

    Raises:
        InputError: If it is not one of :data:`FITS`.
    """
    if fit not in FITS:
        raise InputError(f"backbone.fit_input={fit!r}: choose one of {', '.join(FITS)}")


def fit_images(images: Tensor, unit: int, fit: str) -> Tensor:
    """Make the sides of images multiples of a patch size.

    Args:
        images: (N, 3, H, W) images.
        unit: Side of a patch, in pixels.
        fit: ``pad`` adds zeros at the right and at the bottom, so that a cell keeps its pixels, as
            boxes need it. ``resize`` enlarges images bicubically, so that the map covers exactly
            the image, as semantic maps need it.

    Returns:
        (N, 3, H', W') images, unchanged if the sides fit.
    """
    height, width = images.shape[2:]
    size = (-(-height // unit) * unit, -(-width // unit) * unit)
    if size == (height, width):
        return images
    if fit == "pad":
        return pad(images, (0, size[1] - width, 0, size[0] - height))
    return interpolate(images, size=size, mode="bicubic", align_corners=False)
