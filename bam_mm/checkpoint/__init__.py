"""Reading checkpoints without running their code, verified loading, and atomic writing."""

from bam_mm.checkpoint.backbone import LoadReport, load_backbone, tensor_digest
from bam_mm.checkpoint.convert import ConversionReport, convert, convert_checkpoint
from bam_mm.checkpoint.model import load_weights
from bam_mm.checkpoint.proof import PROOF, read_proof, write_proof
from bam_mm.checkpoint.reading import file_digest, read_checkpoint
from bam_mm.checkpoint.schemes import forbid_unpickling
from bam_mm.checkpoint.sources import BackboneSource, build_backbone, parse_backbone
from bam_mm.checkpoint.writing import newest_checkpoint, write_whole

__all__ = [
    "PROOF",
    "BackboneSource",
    "ConversionReport",
    "LoadReport",
    "build_backbone",
    "convert",
    "convert_checkpoint",
    "file_digest",
    "forbid_unpickling",
    "load_backbone",
    "load_weights",
    "newest_checkpoint",
    "parse_backbone",
    "read_checkpoint",
    "read_proof",
    "tensor_digest",
    "write_proof",
    "write_whole",
]
