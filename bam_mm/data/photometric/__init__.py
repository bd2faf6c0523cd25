"""BYOL's photometric augmentation: its random parameters, and two places that apply them."""

from bam_mm.data.photometric.draw import (
    PLACES,
    PhotometricDraw,
    PhotometricSpec,
    draw,
    resolve_place,
    specs_of_views,
)
from bam_mm.data.photometric.in_workers import apply_to_bgr, apply_to_image
from bam_mm.data.photometric.on_device import apply_to_batch, blur_

__all__ = [
    "PLACES",
    "PhotometricDraw",
    "PhotometricSpec",
    "apply_to_batch",
    "apply_to_bgr",
    "apply_to_image",
    "blur_",
    "draw",
    "resolve_place",
    "specs_of_views",
]
