"""The preprocessing that a model was trained with, as its files state it.

It is found in this order:

1. in the checkpoint: the config that mmengine records in ``meta.cfg``, or what
   ``bam-mm convert`` has written,
2. in the code of the method that wrote the checkpoint (DINO, MoCo v3, MAE, BAM, CLIP),
3. in ``preprocessor_config.json``, which Hugging Face's models have beside their weights,
4. in mmpretrain's model index, for a model that is named after it,
5. in timm's ``pretrained_cfg``, for a model of timm, or in the transforms that torchvision
   publishes with the weights of a model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors

from bam_mm.checkpoint.branches import BRANCHES, find_branch
from bam_mm.checkpoint.contents import tensors_of
from bam_mm.checkpoint.dialects import HUGGING_FACE_BEIT, HUGGING_FACE_VIT
from bam_mm.checkpoint.library_preprocessing import (
    index_preprocessing,
    settings_preprocessing,
    three_channels,
    timm_preprocessing,
)
from bam_mm.checkpoint.preprocessing import IMAGENET, Preprocessing, from_facts
from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.checkpoint.recorded_config import parse_settings
from bam_mm.checkpoint.torchvision_preprocessing import torchvision_preprocessing
from bam_mm.errors import InputError

RECORD = "preprocessing"
"""Key under which ``bam-mm convert`` records the preprocessing in a file."""

IMAGENET_METHODS = frozenset(
    {"DINO", "MoCo v3", "MoCo", "MAE", "BAM", "BAM (released code)", "a student and a teacher"}
    | {"lightly", "solo-learn", "MSN or I-JEPA"}
)
"""Names of layouts of self-supervised methods whose code normalises with ImageNet's mean and
standard deviation. The same architectures of timm may be trained with others."""

METHOD_WORDS = "with which the code trains that writes files of"
"""Words in the source of a normalisation that follows from the layout of a file."""

CLIP_MEAN = tuple(255 * value for value in (0.48145466, 0.4578275, 0.40821073))
"""Mean of red, green and blue in the training of CLIP, for pixel values in [0, 255]."""

CLIP_STD = tuple(255 * value for value in (0.26862954, 0.26130258, 0.27577711))
"""Standard deviation of red, green and blue in the same training, for the same pixel values."""

BESIDE = "preprocessor_config.json"
"""File beside the weights of a model of Hugging Face, with its normalisation."""


def model_preprocessing(
    backbone: Mapping[str, Any] | None,
    checkpoint: str | Path | None = None,
    *,
    index_name: str = "",
    trust: bool = False,
) -> Preprocessing | None:
    """Find the preprocessing that a backbone was trained with.

    Args:
        backbone: Config of the backbone.
        checkpoint: File of its weights, None for random ones.
        index_name: Name of the model in mmpretrain's index, ``""`` for none.
        trust: Whether the user has explicitly allowed code in the file to run.

    Returns:
        The preprocessing; None if the model states none.
    """
    recorded = checkpoint_preprocessing(checkpoint, trust=trust) if checkpoint else None
    if recorded is not None:
        return recorded
    if index_name:
        return index_preprocessing(index_name)
    backbone = backbone or {}
    # bam_mm.DenseBackbone holds the config of its network.
    backbone = backbone.get("network", backbone)
    return timm_preprocessing(backbone) or torchvision_preprocessing(backbone, checkpoint)


def checkpoint_preprocessing(
    path: str | Path, *, trust: bool = False, geometry: bool = False
) -> Preprocessing | None:
    """Return the preprocessing that a checkpoint states.

    Args:
        path: Checkpoint file.
        trust: Whether the user has explicitly allowed code in this file to run.
        geometry: Whether to read the record of a complete model, with the size of its test images.
            Otherwise, the file is that of a backbone, which another protocol evaluates; the method
            that trained it tells the normalisation where the file does not.

    Returns:
        The preprocessing; None if the file states none or cannot be read (loading reports why).
    """
    path = Path(path).expanduser()
    try:
        status = path.stat()
    except OSError:
        return None
    found, _ = _read(path, status.st_mtime_ns, status.st_size, trust)
    if found is None and not geometry:
        found = _from_beside(path.parent / BESIDE)
    if found is None:
        return None
    if geometry:
        return None if METHOD_WORDS in found.source else found
    return replace(found, geometry=None, geometry_source="")


def library_of_unknown(path: str | Path, *, trust: bool = False) -> str:
    """Return the library whose models differ in normalisation, for a file that states none.

    Args:
        path: Checkpoint file of a backbone.
        trust: Whether the user has explicitly allowed code in this file to run.

    Returns:
        Name of the tensors' scheme, such as ``Hugging Face's ViT``; ``""`` for other files, and if
        the file or ``preprocessor_config.json`` beside it states the normalisation.
    """
    path = Path(path).expanduser()
    if not path.is_file() or checkpoint_preprocessing(path, trust=trust) is not None:
        return ""
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size, trust)[1]


@lru_cache(maxsize=32)
def _read(path: Path, time: int, size: int, trust: bool) -> tuple[Preprocessing | None, str]:
    """Return the preprocessing that a file states, and the scheme of one that states none."""
    try:
        content = read_checkpoint(path, trust=trust)
        written = _record(content, path)
        if written is not None:
            return from_facts(written), ""
        meta = content.get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        settings = parse_settings(meta["cfg"]) if isinstance(meta.get("cfg"), str) else {}
        source = f"the config recorded in {path}"
        recorded = settings_preprocessing(settings, source, geometry=True)
        return (recorded, "") if recorded else _of_method(content, path)
    except (InputError, SyntaxError, AttributeError, KeyError, TypeError, ValueError):
        return None, ""  # Not a file of such a content; loading it reports the reason.


def _record(content: Mapping[str, Any], path: Path) -> Mapping[str, Any] | None:
    """Return what ``bam-mm convert`` has written into a file, None if it has written nothing."""
    for state in (content, content.get("state_dict")):
        written = (getattr(state, "_metadata", None) or {}).get(RECORD)
        if isinstance(written, Mapping):
            return written
    with suppress(safetensors.SafetensorError):  # It is another kind of file.
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(RECORD)
        return json.loads(text) if text else None
    return None


def _from_beside(path: Path) -> Preprocessing | None:
    """Read a file that describes ``(factor * pixels - image_mean) / image_std``."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not values.get("do_normalize", True):
            return None
        mean, std = (
            three_channels(values.get("image_mean")),
            three_channels(values.get("image_std")),
        )
        factor = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
        if mean is None or std is None or not factor > 0:
            return None
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    mean, std = (tuple(round(v / factor, 6) for v in each) for each in (mean, std))
    order = "bgr" if values.get("do_flip_channel_order") else "rgb"
    return Preprocessing(mean, std, str(path), order)


def _of_method(content: Mapping[str, Any], path: Path) -> tuple[Preprocessing | None, str]:
    for branch in BRANCHES:
        with suppress(InputError):  # The file may hold one of them.
            found = find_branch(content, branch, path)
            name = found.layout.name
            if name in IMAGENET_METHODS:
                return replace(IMAGENET, source=f"ImageNet's, {METHOD_WORDS} {name}"), ""
            keys = tensors_of(content, path).state
            return _of_clip(keys), _scheme(keys)
    return None, ""


def _of_clip(keys: Iterable[str]) -> Preprocessing | None:
    """Return CLIP's preprocessing if the names are those of its own networks, not of timm's."""
    if "visual.conv1.weight" not in set(keys):
        return None
    return Preprocessing(CLIP_MEAN, CLIP_STD, f"CLIP's, {METHOD_WORDS} OpenCLIP")


def _scheme(keys: Iterable[str]) -> str:
    """Return the name of a scheme whose models differ in normalisation, ``""`` for others."""
    keys = list(keys)
    for dialect in (HUGGING_FACE_BEIT, HUGGING_FACE_VIT):
        if any(re.search(dialect.mark, key) for key in keys):
            return dialect.name
    return ""
