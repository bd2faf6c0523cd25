"""ContrastiveCrop (Peng et al., CVPR 2022; BAM, section 4.1): the crop, its boxes, their store."""

from bam_mm.data.contrastive_crop.box_store import WHOLE_IMAGE, BoxStore
from bam_mm.data.contrastive_crop.boxes import boxes_from_heat_maps, extract_boxes
from bam_mm.data.contrastive_crop.crop import ContrastiveCrop, draw_centre, place_crop

__all__ = [
    "WHOLE_IMAGE",
    "BoxStore",
    "ContrastiveCrop",
    "boxes_from_heat_maps",
    "draw_centre",
    "extract_boxes",
    "place_crop",
]
