"""The toy world: a procedural scene generator, and a writer for each format of the suite."""

from bam_mm.data.toy.render import label_map, render
from bam_mm.data.toy.scene import CLASS_NAMES, CLASSES, Background, Scene, Thing
from bam_mm.data.toy.world import make_world

__all__ = [
    "CLASSES",
    "CLASS_NAMES",
    "Background",
    "Scene",
    "Thing",
    "label_map",
    "make_world",
    "render",
]
