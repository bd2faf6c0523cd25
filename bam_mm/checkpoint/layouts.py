"""Layouts of checkpoints: where each codebase stores the backbones of the teacher and student."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bam_mm.checkpoint.architectures import BEIT_ONLY


@dataclass(frozen=True)
class Layout:
    """The layout of the checkpoints of one codebase.

    Keys are matched without the prefixes of wrappers (``module.`` of DistributedDataParallel,
    ``_orig_mod.`` of ``torch.compile``). The tensors of a nested dict ``teacher`` or ``student``
    have keys that start with ``teacher.`` or ``student.``.

    Args:
        name: Name of the layout in messages.
        marks: Regular expressions of keys that identify the layout; one match is enough.
        teacher: Possible prefixes of the teacher's backbone, of which the first that occurs is
            used.
        student: Possible prefixes of the student's backbone, of which the first that occurs is
            used.
        aside: Regular expressions of keys without the prefix that do not belong to the backbone,
            such as those of heads and decoders.
    """

    name: str
    marks: tuple[str, ...]
    teacher: tuple[str, ...]
    student: tuple[str, ...]
    aside: tuple[str, ...] = ()

    def marked(self, keys: Iterable[str]) -> bool:
        """Return whether a file with these keys has this layout."""
        patterns = [re.compile(mark) for mark in self.marks]
        return any(pattern.match(key) for key in keys for pattern in patterns)

    def prefix(self, keys: Iterable[str], branch: str) -> str:
        """Return the prefix of a branch's backbone, the first one that occurs in the keys."""
        keys = list(keys)
        prefixes = getattr(self, branch)
        return next((p for p in prefixes if any(key.startswith(p) for key in keys)), prefixes[-1])

    def is_aside(self, key: str) -> bool:
        """Return whether a key without the prefix belongs to a head or a decoder."""
        return any(re.match(pattern, key) for pattern in self.aside)


_TEACHER = ("teacher.backbone.", "teacher.encoder.", "teacher.")
_STUDENT = ("student.backbone.", "student.encoder.", "student.", "backbone.", "encoder.", "")
_HEADS = (r"head\.(?!norm\.)", r"fc\.", r"proj_head\.", r"pred_head\.")

BAM_RELEASED = Layout(
    name="BAM (released code)",
    marks=(r"((student|teacher)\.)?(proj_head|pred_head)\.",),
    teacher=(*_TEACHER, *_STUDENT),
    student=_STUDENT,
    aside=_HEADS,
)

STUDENT_TEACHER = Layout(
    name="a student and a teacher",
    marks=(r"student\.",),
    teacher=(*_TEACHER, *_STUDENT),
    student=_STUDENT,
    aside=_HEADS,
)
"""Checkpoints of a student and a teacher from an unknown codebase."""

BAM_MM = Layout(
    name="BAM",
    marks=(r"teacher\.",),
    teacher=(*_TEACHER, "backbone.", ""),
    student=("backbone.", ""),
    aside=_HEADS,
)

DINO = Layout(
    name="DINO",
    marks=(r"(student|teacher)\.head\.",),
    teacher=("teacher.backbone.", "student.backbone."),
    student=("student.backbone.",),
    aside=(r"head\.", r"fc\."),
)

MOCO_V3 = Layout(
    name="MoCo v3",
    marks=(r"(base|momentum)_encoder\.(?!module\.)",),
    teacher=("momentum_encoder.", "base_encoder."),
    student=("base_encoder.",),
    # The projector replaces the classifier, which is fc in a ResNet and head in a ViT.
    aside=(r"head\.", r"fc\."),
)

MAE = Layout(
    name="MAE",
    marks=(r"decoder_(embed|blocks)\.",),
    teacher=("",),
    student=("",),
    aside=(r"mask_token$", r"decoder_", r"head\."),
)

PLAIN = Layout(
    name="one model",
    marks=(r"",),
    teacher=("backbone.", "encoder.", ""),
    student=("backbone.", "encoder.", ""),
    aside=(r"head\.(?!norm\.)", r"head_dist\.", r"fc\.", r"mask_token$"),
)

BEIT = Layout(
    name="BEiT",
    marks=(rf"blocks\.{BEIT_ONLY}", r"rel_pos_bias\."),
    teacher=("",),
    student=("",),
    aside=(r"mask_token$", r"lm_head\.", r"head\."),
)

LAYOUTS = (DINO, BAM_RELEASED, STUDENT_TEACHER, BAM_MM, MOCO_V3, MAE, BEIT, PLAIN)
"""All layouts. The first one with a matching mark is used; the last one matches any keys."""


def layout_of(keys: Iterable[str]) -> Layout:
    """Return the layout of a file with these keys, which have no prefixes of wrappers."""
    keys = list(keys)
    return next(layout for layout in LAYOUTS if layout.marked(keys))
