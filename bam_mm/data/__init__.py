"""Data sets, samplers and transforms. Importing this package registers them."""

from bam_mm.data.block_mask import BlockMask
from bam_mm.data.checks.semantic_maps import CheckSemanticMap
from bam_mm.data.contrastive_crop.box_store import BoxStore
from bam_mm.data.contrastive_crop.crop import ContrastiveCrop
from bam_mm.data.davis import DAVISDataset
from bam_mm.data.image_folder import ImageFolder
from bam_mm.data.loading import CheckImage, LoadImage
from bam_mm.data.match_annotation import MatchAnnotation
from bam_mm.data.multi_crop import MultiCrop, Photometric
from bam_mm.data.samplers import InfiniteSampler, RepeatAugSampler
from bam_mm.data.semantic_map import LoadSemanticMap
from bam_mm.data.transfer import transfer_dataset

__all__ = [
    "BlockMask",
    "BoxStore",
    "CheckImage",
    "CheckSemanticMap",
    "ContrastiveCrop",
    "DAVISDataset",
    "ImageFolder",
    "InfiniteSampler",
    "LoadImage",
    "LoadSemanticMap",
    "MatchAnnotation",
    "MultiCrop",
    "Photometric",
    "RepeatAugSampler",
    "transfer_dataset",
]
