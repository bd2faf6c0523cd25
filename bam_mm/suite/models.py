"""Models of the benchmark: a name, a backbone and its weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bam_mm.checkpoint import BackboneSource, file_digest, parse_backbone
from bam_mm.checkpoint.backbone import RANDOM
from bam_mm.checkpoint.preprocessing import Preprocessing
from bam_mm.errors import InputError


@dataclass(frozen=True)
class Model:
    """A model to evaluate.

    Attributes:
        name: Name in tables.
        slug: Name in paths.
        source: Backbone and weights.
        sha256: SHA-256 of the checkpoint file, ``""`` for random weights.
        preprocessing: Preprocessing that the model was trained with, None if it states none.
        size: Side in pixels of the images that it gets where the task does not prescribe it, None
            for that of the task or of its preprocessing.
        method: Name of the pretraining method of the suite whose checkpoints are the weights, one
            for each seed; ``""`` for a model of the command line.
        pretraining: Digest of the settings of that pretraining.
        imports: Modules that register the backbone, of the config of that pretraining.
    """

    name: str
    slug: str
    source: BackboneSource
    sha256: str
    preprocessing: Preprocessing | None = None
    size: int | None = None
    method: str = ""
    pretraining: str = ""
    imports: tuple[str, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether the model has trained weights, or will have."""
        return self.source.path is not None or bool(self.method)

    @property
    def checkpoint(self) -> str:
        """Absolute path of the checkpoint file, or :data:`~bam_mm.checkpoint.backbone.RANDOM`."""
        # Absolute, because the tools run in the root of the repository.
        path = self.source.path
        return RANDOM if path is None else str(path.expanduser().absolute())

    def facts(self) -> dict[str, Any]:
        """Return what identifies the model in records.

        Its preprocessing is included if it is not that of ImageNet in the configs, as records of
        earlier versions were made with that. The SHA-256 of a pretraining method is left out, as it
        differs between the seeds.
        """
        found = self.preprocessing
        other = found is not None and not (found.is_imagenet and found.geometry is None)
        return {
            "name": self.name,
            "kind": self.source.kind,
            "branch": self.source.branch,
            "backbone": self.source.config,
            "sha256": "" if self.method else self.sha256,
            **({"preprocessing": found.facts()} if found is not None and other else {}),
            **({"size": self.size} if self.size is not None else {}),
            **({"method": self.method, "pretraining": self.pretraining} if self.method else {}),
        }


def read_models(
    texts: Sequence[str],
    *,
    trust: bool = False,
    sizes: Sequence[str] = (),
    reserved: Sequence[str] = (),
) -> list[Model]:
    """Read models from the command line.

    Args:
        texts: ``SPEC`` or ``NAME=SPEC`` of each model, see
            :func:`~bam_mm.checkpoint.parse_backbone`.
        trust: Whether code in a ``bam:`` file may run.
        sizes: Sides of images in pixels: ``N`` for all models, ``NAME=N`` for one.
        reserved: Names and titles of the methods of a suite, which no model may have.

    Returns:
        The models in the same order.

    Raises:
        InputError: If there is no model, if one cannot be read, if two would share a folder, if
            one is named like a method, or if a size is wrong.
    """
    if not texts and not reserved:
        raise InputError("no model: pass at least one, as in --model BAM=bam:PATH")
    models = [_read(text, trust) for text in texts]
    # Not all file systems tell capital letters from small ones.
    methods = {slug_of(name).casefold(): name for name in reserved}
    folders: dict[str, str] = {}
    for model in models:
        if (method := methods.get(model.slug.casefold())) is not None:
            raise InputError(
                f"--model {model.name}: {method} is a method of the suite, whose results would be "
                f"mixed with those of the model; choose a different name, as in my-{model.slug}="
                f"{model.source.spec}"
            )
        if model.slug in folders:
            raise InputError(
                f"--model: {folders[model.slug]!r} and {model.name!r} would share the folder "
                f"{model.slug}; choose different names, as in NAME=SPEC"
            )
        folders[model.slug] = model.name
    found = _read_sizes(sizes, [model.name for model in models])
    return [replace(model, size=found.get(model.name, found.get(""))) for model in models]


def slug_of(name: str) -> str:
    """Return a name as it stands in paths; ``""`` for one without letters and digits."""
    return re.sub(r"([^\w.-]|_)+", "-", name).strip("-.")[-80:]


def _read_sizes(texts: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return the sizes by the names of their models, ``""`` for all others."""
    sizes: dict[str, int] = {}
    if texts and not names:
        raise InputError(f"--size {texts[0]}: it holds for what --model names, and there is none")
    for text in texts:
        name, _, number = text.rpartition("=")
        if name and name not in names:
            raise InputError(f"--size {text}: no model has this name; use {', '.join(names)}")
        if not number.isdecimal() or int(number) < 1:
            raise InputError(
                f"--size {text}: set the side of the images in pixels, as in --size 224, or "
                f"--size {name or names[0]}=224 for one model"
            )
        if name in sizes:
            raise InputError(
                f"--size {text}: {name or 'all models'} already has --size {sizes[name]}; set one "
                "size for each model"
            )
        sizes[name] = int(number)
    return sizes


def _read(text: str, trust: bool) -> Model:
    name, equals, spec = text.partition("=")
    if not equals or ":" in name:
        name, spec = text, text
    name = name.strip()
    source = parse_backbone(spec, trust=trust)
    if source.path is not None and not source.path.expanduser().is_file():
        raise InputError(f"--model {text}: {source.path} does not exist; check the path")
    slug = slug_of(name)
    if not slug:
        raise InputError(f"--model {text}: the name needs letters or digits, as in BAM={spec}")
    digest = file_digest(source.path) if source.path else ""
    return Model(name, slug, source, digest, source.preprocessing(trust=trust))
