"""Backbones by short name, with weights from a file, such as ``timm:NAME@PATH``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import nn

from bam_mm.checkpoint.backbone import LoadReport, load_backbone
from bam_mm.checkpoint.branches import BRANCHES
from bam_mm.checkpoint.file_preprocessing import model_preprocessing
from bam_mm.checkpoint.mmpretrain_index import index_backbone
from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.checkpoint.recorded_config import recorded_backbone
from bam_mm.checkpoint.torchvision_preprocessing import published_weights
from bam_mm.errors import InputError
from bam_mm.registry import FORMS, MODELS

_MOCO_VIT = dict(type="mmpretrain.MoCoV3ViT", img_size=224, patch_size=16)

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "vit-small-p16": dict(_MOCO_VIT, arch="mocov3-small"),
    "vit-base-p16": dict(_MOCO_VIT, arch="base"),
    "resnet50": dict(type="mmpretrain.ResNet", depth=50),
    "caformer-m36": dict(type="mmpretrain.TIMMBackbone", model_name="caformer_m36"),
    "beit-base-p16": dict(type="mmpretrain.BEiTViT", arch="base", img_size=224, patch_size=16),
    "vit-toy-p8": dict(
        type="mmpretrain.MoCoV3ViT",
        arch=dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=48,
        patch_size=8,
    ),
    "resnet18-w16": dict(
        type="mmpretrain.ResNet_CIFAR", depth=18, stem_channels=16, base_channels=16
    ),
}
"""Configs of short names in addition to the names in the model index of mmpretrain."""


@dataclass(frozen=True)
class BackboneSource:
    """A backbone and the source of its weights.

    Attributes:
        spec: Short name from which this source was parsed.
        kind: ``timm``, ``torchvision``, ``mmpretrain``, ``bam`` or ``random``.
        config: Config of the backbone, for the registry.
        path: Path of the weights, None for random weights.
        branch: Branch of the checkpoint, ``teacher`` or ``student``.
        index_name: Name of the model in mmpretrain's index, ``""`` for none.
        recorded_in: Checkpoint whose config describes the backbone, None for none.
    """

    spec: str
    kind: str
    config: dict[str, Any]
    path: Path | None
    branch: str = "teacher"
    index_name: str = ""
    recorded_in: Path | None = None

    def preprocessing(self, *, trust: bool = False) -> Preprocessing | None:
        """Find the preprocessing that the model was trained with.

        Args:
            trust: Whether the user has explicitly allowed code in the file to run.

        Returns:
            The preprocessing; None if the model states none. Random weights have that of the model
            they replace.
        """
        file = self.path or self.recorded_in
        return model_preprocessing(self.config, file, index_name=self.index_name, trust=trust)


def parse_backbone(spec: str, *, trust: bool = False) -> BackboneSource:
    """Parse the short name of a backbone. Nothing is downloaded.

    - ``timm:NAME@PATH``: a timm model in mmpretrain's ``TIMMBackbone``, with weights from a file.
      Without a path, the weights are taken from the Hugging Face cache of this machine.
    - ``torchvision:NAME@PATH``: a classification model of torchvision, with weights from a file.
    - ``mmpretrain:NAME@PATH``: the backbone of a model in mmpretrain's index, or one of
      ``ARCHITECTURES``.
    - ``bam:PATH``, ``bam:PATH@student``: a checkpoint of this package, which contains the config of
      its backbone.
    - ``random:NAME``, ``random:timm:NAME``, ``random:torchvision:NAME``, ``random:bam:PATH``: the
      same architectures with random weights.

    Args:
        spec: Short name of the backbone.
        trust: Whether the user has explicitly allowed code in a ``bam:`` file to run.

    Returns:
        The source, from which :func:`build_backbone` builds the backbone.

    Raises:
        InputError: If a name is unknown (the message lists similar ones), or there are no weights.
    """
    kind, _, rest = spec.partition(":")
    if kind == "bam" and rest:
        path, _, branch = rest.rpartition("@")
        if branch not in BRANCHES or not path:
            if path and Path(path).is_file() and not Path(rest).exists():
                raise InputError(
                    f"backbone {spec!r}: no branch {branch!r}; choose teacher or student"
                )
            path, branch = rest, "teacher"
        return BackboneSource(spec, kind, recorded_backbone(path, trust=trust), Path(path), branch)
    if kind == "random" and rest:
        if rest.startswith("bam:"):
            recorded = recorded_backbone(rest.removeprefix("bam:"), trust=trust)
            path = rest.removeprefix("bam:")
            return BackboneSource(spec, kind, recorded, None, recorded_in=Path(path))
        inner, _, name = rest.rpartition(":")
        if inner not in ("", *_LIBRARIES):
            raise InputError(f"backbone {spec!r}: write one of {FORMS}")
        config = _LIBRARIES[inner or "mmpretrain"](name, spec)
        listed = _index_name(name) if inner in ("", "mmpretrain") else ""
        return BackboneSource(spec, kind, config, None, index_name=listed)
    name, at, path = rest.partition("@")
    if kind not in _LIBRARIES or not name or (at and not path):
        raise InputError(f"backbone {spec!r}: write one of {FORMS}")
    config = _LIBRARIES[kind](name, spec)
    if not path and kind != "timm":
        untrained = name if kind == "mmpretrain" else f"{kind}:{name}"
        raise InputError(
            f"backbone {spec!r} needs its weights, nothing is downloaded: pass the file "
            f"({kind}:{name}@PATH), or use random weights (random:{untrained})"
        )
    if kind == "torchvision":
        config.update(_published_size(name, path))
    listed = _index_name(name) if kind == "mmpretrain" else ""
    file = Path(path) if path else _cached(name, spec)
    return BackboneSource(spec, kind, config, file, index_name=listed)


def build_backbone(
    source: str | BackboneSource, *, trust: bool = False, **overrides: Any
) -> tuple[nn.Module, LoadReport | None]:
    """Build a backbone and load its weights with proof.

    Args:
        source: Short name of the backbone, or the result of :func:`parse_backbone`.
        trust: Whether the user has explicitly allowed code in the file to run.
        **overrides: Values that replace those in the config of the backbone, such as
            ``out_type="featmap"``.

    Returns:
        The backbone and the report of loading it, None for random weights.

    Raises:
        InputError: If the name is invalid, there are no weights, or they do not fit the backbone
            (see :func:`~bam_mm.checkpoint.backbone.load_backbone`).
    """
    if isinstance(source, str):
        source = parse_backbone(source, trust=trust)
    backbone = MODELS.build({**source.config, **overrides})
    if source.path is not None:
        report = load_backbone(backbone, source.path, source.branch, trust=trust)
        found = source.preprocessing(trust=trust)
        return backbone, replace(report, preprocessing=found.facts() if found else None)
    if hasattr(backbone, "init_weights"):
        backbone.init_weights()
    return backbone, None


def _timm(name: str, spec: str) -> dict[str, Any]:
    import timm  # Slow to import and rarely needed.

    known = timm.list_models() + timm.list_pretrained()
    if name not in known and not timm.is_model(name):
        raise _unknown(spec, name, known, "timm.list_models()")
    return dict(type="mmpretrain.TIMMBackbone", model_name=name)


def _torchvision(name: str, spec: str) -> dict[str, Any]:
    from torchvision import models  # Slow to import and rarely needed.

    if name not in models.list_models():  # With those that you have registered.
        known = models.list_models(models)
        raise _unknown(spec, name, known, "torchvision.models.list_models()")
    return dict(type="bam_mm.TorchvisionBackbone", model_name=name)


def _published_size(name: str, path: str) -> dict[str, Any]:
    """Return the size for which torchvision builds a ViT of published weights, by their file."""
    file = f"/{Path(path).name}"
    weights = [w for w in published_weights(name) or () if w.url.endswith(file)]
    sizes = [w.meta.get("min_size") for w in weights]
    # The others take images of any size, with the same weights.
    positions = name.startswith("vit_") and sizes and sizes[0] not in (None, (224, 224))
    return dict(image_size=sizes[0][0]) if positions else {}


def _listed(name: str, spec: str) -> dict[str, Any]:
    if name in ARCHITECTURES:
        return dict(ARCHITECTURES[name])
    from mmpretrain.apis.model import list_models  # Slow to import as well.

    known = list_models()
    if name.lower() not in known:
        raise _unknown(spec, name, [*ARCHITECTURES, *known], "mmpretrain.list_models()")
    return index_backbone(name, known, spec)


_LIBRARIES = {"timm": _timm, "torchvision": _torchvision, "mmpretrain": _listed}


def _index_name(name: str) -> str:
    return "" if name in ARCHITECTURES else name


def _cached(name: str, spec: str) -> Path:
    import timm
    from huggingface_hub import try_to_load_from_cache

    settings = timm.get_pretrained_cfg(name)
    repository = getattr(settings, "hf_hub_id", None)
    for file in ("model.safetensors", "pytorch_model.bin"):
        path = try_to_load_from_cache(repository, file) if repository else None
        if isinstance(path, str):
            return Path(path)
    raise InputError(
        f"backbone {spec!r}: its weights are not in the Hugging Face cache of this machine, and "
        f"nothing is downloaded; pass the file (timm:{name}@PATH), or use random weights "
        f"(random:timm:{name})"
    )


def _unknown(spec: str, name: str, known: Iterable[str], where: str) -> InputError:
    close = get_close_matches(name, list(known), n=4, cutoff=0.5)
    hint = f"; similar names: {', '.join(close)}" if close else ""
    return InputError(f"backbone {spec!r}: no model {name!r}{hint} (all names: {where})")
