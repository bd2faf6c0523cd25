"""The preprocessing that a model was trained with: normalisation, size, resizing and crop.

It is found in this order:

1. in the checkpoint: the config that mmengine records in ``meta.cfg``, or what
   ``bam-mm convert`` has written,
2. in the code of the method that wrote the checkpoint (DINO, MoCo v3, MAE, BAM, CLIP),
3. in ``preprocessor_config.json``, which Hugging Face's models have beside their weights,
4. in mmpretrain's model index, for a model that is named after it,
5. in timm's ``pretrained_cfg``, for a model of timm.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors
from mmengine.config import Config

from bam_mm.checkpoint.branches import BRANCHES, find_branch
from bam_mm.checkpoint.contents import tensors_of
from bam_mm.checkpoint.dialects import HUGGING_FACE_BEIT, HUGGING_FACE_VIT
from bam_mm.checkpoint.geometry import GEOMETRY_KEYS, Geometry, kind_of, read_geometry
from bam_mm.checkpoint.reading import read_checkpoint
from bam_mm.checkpoint.recorded_config import parse_settings
from bam_mm.errors import InputError

IMAGENET_MEAN = (123.675, 116.28, 103.53)
"""Mean of red, green and blue over ImageNet, for pixel values in [0, 255]."""

IMAGENET_STD = (58.395, 57.12, 57.375)
"""Standard deviation of red, green and blue over ImageNet, for pixel values in [0, 255]."""

RECORD = "preprocessing"
"""Key under which ``bam-mm convert`` records the preprocessing in a file."""

TIMM_TYPES = ("TIMMBackbone", "DenseTIMM")
"""Backbones whose ``model_name`` is a pretrained model of timm."""

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

RGB_DATASETS = ("CIFAR10", "CIFAR100")
"""Data sets of mmpretrain whose images are RGB; all others are BGR."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image before a model sees it.

    Attributes:
        mean: Mean of each channel, for pixel values in [0, 255], in the order of ``channels``.
        std: Standard deviation of each channel, for pixel values in [0, 255], in the same order.
        source: Where mean and standard deviation come from.
        channels: Order in which the model takes the channels, ``rgb`` or ``bgr``.
        geometry: Size, resizing and crop of test images; None if they are not known.
        geometry_source: Where the geometry comes from.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    channels: str = "rgb"
    geometry: Geometry | None = None
    geometry_source: str = ""

    @property
    def is_imagenet(self) -> bool:
        """Whether mean and standard deviation are ImageNet's."""
        return self.same_normalisation(IMAGENET)

    def same_normalisation(self, other: Preprocessing) -> bool:
        """Return whether another preprocessing normalises in the same way."""
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std), strict=True)
        return self.channels == other.channels and all(
            math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6) for a, b in pairs
        )

    def facts(self) -> dict[str, Any]:
        """Return plain values for records: all attributes, with those of the geometry."""
        geometry = dict.fromkeys((*GEOMETRY_KEYS, "short_side"))
        if self.geometry:
            geometry = asdict(self.geometry)
        return {
            "mean": list(self.mean),
            "std": list(self.std),
            "channels": self.channels,
            "source": self.source,
            **geometry,
            "geometry_source": self.geometry_source,
        }

    def describe_normalisation(self) -> str:
        """Return mean, standard deviation and order of the channels as text."""
        mean, std = (
            ", ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std)
        )
        return f"mean ({mean}), std ({std}), {self.channels.upper()}"

    def __str__(self) -> str:
        images = self.geometry or "images as the config's pipeline makes them"
        return (
            f"{self.describe_normalisation()}, from {self.source}; {images}"
            + f", from {self.geometry_source}" * bool(self.geometry_source)
        )


IMAGENET = Preprocessing(IMAGENET_MEAN, IMAGENET_STD, "ImageNet's, the default")
"""ImageNet's normalisation, for models that state none."""


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
    return timm_preprocessing(backbone or {})


def timm_preprocessing(backbone: Mapping[str, Any]) -> Preprocessing | None:
    """Return the preprocessing in timm's ``pretrained_cfg`` of a backbone.

    Args:
        backbone: Config of a backbone, such as ``dict(type='mmpretrain.TIMMBackbone',
            model_name='vit_base_patch16_224.augreg_in21k')``. The tag after the dot decides;
            without it, timm's default tag does. If the config sets ``img_size``, the size is that.

    Returns:
        The preprocessing; None if the backbone is not timm's, or timm has no pretrained config.
    """
    if kind_of(backbone) not in TIMM_TYPES:
        return None
    import timm  # Slow to import and rarely needed.

    try:
        pretrained = timm.get_pretrained_cfg(backbone.get("model_name", ""))
    except RuntimeError:  # The tag does not exist; building the model reports it.
        return None
    if pretrained is None or len(pretrained.mean or ()) != 3:
        return None
    found = timm.data.resolve_data_config(pretrained_cfg=pretrained.to_dict(), verbose=False)
    size = backbone.get("img_size") or found["input_size"][1:]
    sides = {size} if isinstance(size, int) else set(size)
    filtering = found["interpolation"]
    geometry = None
    if len(sides) == 1 and found["crop_mode"] in ("center", "squash"):
        geometry = Geometry(
            sides.pop(),
            float(found["crop_pct"]),
            "bicubic" if filtering == "random" else filtering,
            found["crop_mode"] == "squash",
        )
    # timm has a tag for each pretrained file of an architecture.
    name = f"{pretrained.architecture}.{pretrained.tag}".rstrip(".")
    mean, std = (tuple(round(255.0 * v, 6) for v in found[key]) for key in ("mean", "std"))
    source = f"timm's pretrained_cfg of {name}"
    return Preprocessing(mean, std, source, "rgb", geometry, source if geometry else "")


def other_tags(backbone: Mapping[str, Any]) -> list[str]:
    """List the tags of a timm model that normalise in another way than its default tag.

    Args:
        backbone: Config of a backbone.

    Returns:
        Names such as ``vit_base_patch16_224.dino``; empty if the config names a tag itself.
    """
    own = timm_preprocessing(backbone)
    name = str(backbone.get("model_name"))
    if own is None or "." in name:
        return []
    import timm

    others = {tag: timm_preprocessing({**backbone, "model_name": tag}) for tag in _tags(timm, name)}
    return [tag for tag, found in others.items() if found and not found.same_normalisation(own)]


def _tags(timm: Any, name: str) -> list[str]:
    return timm.list_pretrained(f"{name}.*")


def index_preprocessing(name: str) -> Preprocessing | None:
    """Return the preprocessing in the config of a model in mmpretrain's index.

    Args:
        name: Name of the model, such as ``vit-base-p16_32xb128-mae_in1k``.

    Returns:
        The preprocessing; None if the config states none.
    """
    from mmpretrain.apis.model import ModelHub  # Slow to import and rarely needed.

    config = ModelHub.get(name).config
    kept = {key: config.get(key) for key in ("model", "data_preprocessor", "test_dataloader")}
    settings = Config({key: value for key, value in kept.items() if value}).to_dict()
    return settings_preprocessing(settings, f"mmpretrain's config of {name}", geometry=True)


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
        if path.suffix == ".safetensors":
            return _from_safetensors(path)
        content = read_checkpoint(path, trust=trust)
        for state in (content, content.get("state_dict")):
            recorded = (getattr(state, "_metadata", None) or {}).get(RECORD)
            if isinstance(recorded, Mapping):
                return from_facts(recorded), ""
        meta = content.get("meta")
        meta = meta if isinstance(meta, Mapping) else {}
        settings = parse_settings(meta["cfg"]) if isinstance(meta.get("cfg"), str) else {}
        source = f"the config recorded in {path}"
        recorded = settings_preprocessing(settings, source, geometry=True)
        return (recorded, "") if recorded else _of_method(content, path)
    except (InputError, SyntaxError, AttributeError, KeyError, TypeError, ValueError):
        return None, ""  # Not a file of such a content; loading it reports the reason.


def _from_safetensors(path: Path) -> tuple[Preprocessing | None, str]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text, keys = (file.metadata() or {}).get(RECORD), list(file.keys())
    except Exception:  # A damaged file; loading it reports the reason.
        return None, ""
    return (from_facts(json.loads(text)), "") if text else (_of_clip(keys), _scheme(keys))


def _from_beside(path: Path) -> Preprocessing | None:
    """Read a file that describes ``(factor * pixels - image_mean) / image_std``."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not values.get("do_normalize", True):
            return None
        mean, std = _three(values.get("image_mean")), _three(values.get("image_std"))
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


def from_facts(facts: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing with the values of :meth:`Preprocessing.facts`."""
    geometry = {key: facts[key] for key in GEOMETRY_KEYS if facts.get(key) is not None}
    return Preprocessing(
        tuple(map(float, facts["mean"])),
        tuple(map(float, facts["std"])),
        str(facts.get("source", "")),
        str(facts.get("channels", "rgb")),
        Geometry(**geometry) if geometry else None,
        str(facts.get("geometry_source", "")),
    )


def settings_preprocessing(
    settings: Mapping[str, Any], source: str, *, geometry: bool
) -> Preprocessing | None:
    """Return the preprocessing in the config of a run of any OpenMMLab library.

    Args:
        settings: Values of the config by name.
        source: Description of the config, for messages.
        geometry: Whether to read the size of the test images as well.

    Returns:
        The preprocessing; None if the config has neither a data preprocessor nor a step that
        normalises.
    """
    model = settings.get("model")
    model = model if isinstance(model, Mapping) else {}
    place = model.get("data_preprocessor") or settings.get("data_preprocessor")
    dataset = _dataset(settings)
    pipeline = dataset.get("pipeline")
    pipeline = pipeline if isinstance(pipeline, Sequence) else ()
    if not (place or {}).get("mean"):
        steps = [step for step in pipeline if kind_of(step) == "Normalize"]
        place = (steps or [settings.get("img_norm_cfg")])[0] or place
    if not isinstance(place, Mapping):
        return None
    found = read_normalisation(place, source, rgb=kind_of(dataset) in RGB_DATASETS)
    sized = read_geometry(pipeline) if geometry else None
    return found and replace(found, geometry=sized, geometry_source=source if sized else "")


def read_normalisation(
    place: Mapping[str, Any], source: str, *, rgb: bool = False
) -> Preprocessing | None:
    """Return the normalisation that the config of a data preprocessor describes.

    Args:
        place: Config of a data preprocessor of mmpretrain, mmdet or mmseg, or of a ``Normalize``
            step.
        source: Description of the config, for messages.
        rgb: Whether the data set returns RGB, instead of BGR as most do.

    Returns:
        The normalisation; None if it is not for three channels.
    """
    ours = kind_of(place) == "MultiViewPreprocessor"
    rgb_unless_stated = ours or kind_of(place) == "Normalize"
    mean, std = place.get("mean"), place.get("std")
    if mean is None or std is None:
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if ours else ((0.0,), (1.0,))
    converted = any(
        place.get(key, default)
        for key, default in (
            ("to_rgb", rgb_unless_stated),
            ("bgr_to_rgb", False),
            ("rgb_to_bgr", False),
        )
    )
    mean, std = _three(mean), _three(std)
    if mean is None or std is None:
        return None
    return Preprocessing(mean, std, source, "rgb" if converted != rgb else "bgr")


def _three(values: Any) -> tuple[float, ...] | None:
    values = list(values) if isinstance(values, Sequence) else [values]
    if len(values) == 1:
        values *= 3
    numeric = all(isinstance(v, (int, float)) for v in values)
    return tuple(map(float, values)) if len(values) == 3 and numeric else None


def _dataset(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in ("test_dataloader", "val_dataloader"):
        loader = settings.get(name)
        dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
        while isinstance(dataset, Mapping) and isinstance(dataset.get("dataset"), Mapping):
            dataset = dataset["dataset"]
        if isinstance(dataset, Mapping):
            return dataset
    return {}
