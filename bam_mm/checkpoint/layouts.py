"""Layouts of checkpoints: which codebase has written a file, and the heads beside its backbone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from bam_mm.checkpoint.architectures import BEIT_ONLY


@dataclass(frozen=True)
class Layout:
    """The layout of the checkpoints of one codebase.

    Keys are matched without the words of wrappers (``module.`` of DistributedDataParallel,
    ``_orig_mod.`` of ``torch.compile``). The tensors of a nested dict such as ``teacher`` or
    ``model_ema`` have keys that start with its name. Where the backbones of the branches are
    follows from the words in the keys, see :mod:`bam_mm.checkpoint.roles`.

    Args:
        name: Name of the layout in messages.
        marks: Regular expressions of keys that identify the layout; one match is enough.
        aside: Regular expressions of keys without the prefix that do not belong to the backbone,
            such as those of heads and decoders.
        trained: Prefix of the trained weights in files that store their moving average in the
            place of the model, ``""`` for other files.
    """

    name: str
    marks: tuple[str, ...]
    aside: tuple[str, ...] = ()
    trained: str = ""

    def marked(self, keys: Iterable[str]) -> bool:
        """Return whether a file with these keys has this layout."""
        patterns = [re.compile(mark) for mark in self.marks]
        return any(pattern.match(key) for key in keys for pattern in patterns)

    def is_aside(self, key: str) -> bool:
        """Return whether a key without the prefix belongs to a head or a decoder."""
        return any(re.match(pattern, key) for pattern in (*self.aside, *_ASIDE))


_ASIDE = (
    r"(mask_token|masked_embed)$",
    r"pooler\.",
    r"decoder\.decoder_",
    # Counters of moving averages.
    r"(n_averaged|steps?|updates|num_updates|initted|decay)$",
)
_HEADS = (r"head\.(?!norm\.)", r"fc\.", r"proj_head\.", r"pred_head\.")
# torchvision's ConvNeXt and MobileNetV3 have layers of the backbone in front of the last one.
_PLAIN = (r"head\.(?!norm\.)", r"head_dist\.", r"fc\.", r"classifier\.\d+\.(weight|bias)$")

MMENGINE_EMA = Layout(
    name="mmengine with EMAHook",
    marks=(r"ema_state_dict\.steps$",),
    aside=(*_HEADS, *_PLAIN),
    trained="ema_state_dict.",
)

LIGHTNING_EMA = Layout(
    name="Lightning with averaged weights",
    marks=(r"current_model_state\.",),
    aside=(*_HEADS, *_PLAIN),
    trained="current_model_state.",
)

DINO = Layout(name="DINO", marks=(r"(student|teacher)\.head\.",), aside=(r"head\.", r"fc\."))

DINOV2 = Layout(name="DINOv2", marks=(r"(student|teacher)\.(dino_head|ibot_head)\.",))

BAM_RELEASED = Layout(
    name="BAM (released code)",
    marks=(r"((student|teacher)\.)?(proj_head|pred_head)\.",),
    aside=_HEADS,
)

STUDENT_TEACHER = Layout(name="a student and a teacher", marks=(r"student\.",), aside=_HEADS)
"""Checkpoints of a student and a teacher from an unknown codebase."""

MMPRETRAIN = Layout(
    name="mmpretrain (BYOL, MoCo)",
    marks=(r"(target_net|encoder_k|momentum_encoder)\.0\.",),
    aside=_HEADS,
)

BAM_MM = Layout(name="BAM", marks=(r"teacher\.",), aside=_HEADS)

LIGHTLY = Layout(name="lightly", marks=(r"(student|teacher)_\w+\.",), aside=_HEADS)

MOCO = Layout(name="MoCo", marks=(r"encoder_[qk]\.",), aside=_HEADS)

MOCO_V3 = Layout(
    name="MoCo v3",
    marks=(r"(base|momentum)_encoder\.",),
    # The projector replaces the classifier, which is fc in a ResNet and head in a ViT.
    aside=(r"head\.", r"fc\."),
)

SOLO_LEARN = Layout(name="solo-learn", marks=(r"momentum_(backbone|projector)\.",), aside=_HEADS)

JEPA = Layout(name="MSN or I-JEPA", marks=(r"target_encoder\.",), aside=(*_HEADS, r"pred\."))

AVERAGED = Layout(
    name="a model and its moving average",
    # BEiT's target_generator is a tokenizer.
    marks=(
        r"(?!target_generator\.)(\w*_)?(ema|averaged?|shadow|polyak|swa|momentum|target|online)(_\w*)?\.",
    ),
    aside=_PLAIN,
)

OPENCLIP = Layout(name="OpenCLIP", marks=(r"visual\.",), aside=_PLAIN)

MAE = Layout(
    name="MAE",
    marks=(r"decoder_(embed|blocks)\.", r"decoder\.decoder_(embed|layers)\."),
    aside=(r"decoder_", r"head\."),
)

PLAIN = Layout(name="one model", marks=(r"",), aside=_PLAIN)

BEIT = Layout(
    name="BEiT",
    marks=(rf"blocks\.{BEIT_ONLY}", r"rel_pos_bias\."),
    aside=(r"lm_head\.", r"head\."),
)

LAYOUTS = (
    MMENGINE_EMA,
    LIGHTNING_EMA,
    DINO,
    DINOV2,
    BAM_RELEASED,
    STUDENT_TEACHER,
    BAM_MM,
    LIGHTLY,
    MMPRETRAIN,
    MOCO,
    MOCO_V3,
    SOLO_LEARN,
    JEPA,
    AVERAGED,
    OPENCLIP,
    MAE,
    BEIT,
    PLAIN,
)
"""All layouts. The first one with a matching mark is used; the last one matches any keys."""


def layout_of(keys: Iterable[str]) -> Layout:
    """Return the layout of a file with these keys, which have no words of wrappers."""
    keys = list(keys)
    return next(layout for layout in LAYOUTS if layout.marked(keys))
