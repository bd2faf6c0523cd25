"""Data sets and transforms; importing this registers them."""

from bam_mm.data.image_folder import ImageFolder
from bam_mm.data.loading import LoadImage
from bam_mm.data.multi_crop import MultiCrop, Photometric

__all__ = ["ImageFolder", "LoadImage", "MultiCrop", "Photometric"]
