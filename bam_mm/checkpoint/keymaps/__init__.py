"""Names and places of tensors in the checkpoints of other codebases, one codebase a file."""

from collections.abc import Iterable

from bam_mm.checkpoint.keymaps import names
from bam_mm.checkpoint.keymaps.bam import BAM_MM, BAM_RELEASED, STUDENT_TEACHER
from bam_mm.checkpoint.keymaps.beit import BEIT, BEIT_VIT
from bam_mm.checkpoint.keymaps.dino import DINO
from bam_mm.checkpoint.keymaps.layout import Layout
from bam_mm.checkpoint.keymaps.mae import MAE
from bam_mm.checkpoint.keymaps.mocov3 import MOCO_V3
from bam_mm.checkpoint.keymaps.names import WRAPPER, KeyMap, Names
from bam_mm.checkpoint.keymaps.plain import PLAIN
from bam_mm.checkpoint.keymaps.timm_caformer import TIMM_CAFORMER
from bam_mm.checkpoint.keymaps.timm_resnet import TIMM_RESNET
from bam_mm.checkpoint.keymaps.timm_vit import TIMM_VIT

KEYMAPS = (BEIT_VIT, TIMM_CAFORMER, TIMM_VIT, TIMM_RESNET)
"""Special ones first: BEiT's blocks are named like ViT's, with more in them."""

LAYOUTS = (DINO, BAM_RELEASED, STUDENT_TEACHER, BAM_MM, MOCO_V3, MAE, BEIT, PLAIN)
"""The first that is marked; the last takes all."""

__all__ = ["KEYMAPS", "LAYOUTS", "WRAPPER", "KeyMap", "Layout", "Names", "layout_of", "recognise"]


def layout_of(keys: Iterable[str]) -> Layout:
    """The layout of a file with these keys, without wrappers' prefixes."""
    keys = list(keys)
    return next(layout for layout in LAYOUTS if layout.marked(keys))


def recognise(keys: Iterable[str]) -> Names:
    """Whose names a backbone's keys are, see :func:`~bam_mm.checkpoint.keymaps.names.recognise`."""
    return names.recognise(keys, KEYMAPS)
