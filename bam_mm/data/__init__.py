"""Data sets and transforms; importing this registers them."""

from bam_mm.data.davis import DAVISDataset
from bam_mm.data.image_folder import ImageFolder
from bam_mm.data.loading import LoadImage
from bam_mm.data.multi_crop import MultiCrop, Photometric

__all__ = ["DAVISDataset", "ImageFolder", "LoadImage", "MultiCrop", "Photometric"]
