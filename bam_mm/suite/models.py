"""Models of the benchmark: a name, a backbone and its weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
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
    """

    name: str
    slug: str
    source: BackboneSource
    sha256: str
    preprocessing: Preprocessing | None = None

    @property
    def trained(self) -> bool:
        """Whether the model has trained weights."""
        return self.source.path is not None

    @property
    def checkpoint(self) -> str:
        """Absolute path of the checkpoint file, or :data:`~bam_mm.checkpoint.backbone.RANDOM`."""
        # Absolute, because the tools run in the root of the repository.
        path = self.source.path
        return RANDOM if path is None else str(path.expanduser().absolute())

    def facts(self) -> dict[str, Any]:
        """Return what identifies the model in records.

        Its preprocessing is included if it is not that of ImageNet in the configs, as records of
        earlier versions were made with that.
        """
        found = self.preprocessing
        other = found is not None and not (found.is_imagenet and found.geometry is None)
        return {
            "name": self.name,
            "kind": self.source.kind,
            "branch": self.source.branch,
            "backbone": self.source.config,
            "sha256": self.sha256,
            **({"preprocessing": found.facts()} if found is not None and other else {}),
        }


def read_models(texts: Sequence[str], *, trust: bool = False) -> list[Model]:
    """Read models from the command line.

    Args:
        texts: ``SPEC`` or ``NAME=SPEC`` of each model, see
            :func:`~bam_mm.checkpoint.parse_backbone`.
        trust: Whether code in a ``bam:`` file may run.

    Returns:
        The models in the same order.

    Raises:
        InputError: If there is no model, if one cannot be read, or if two would share a folder.
    """
    if not texts:
        raise InputError("no model: pass at least one, as in --model BAM=bam:PATH")
    models = [_read(text, trust) for text in texts]
    for index, model in enumerate(models):
        others = [m.name for m in models[:index] if m.slug == model.slug]
        if others:
            raise InputError(
                f"--model: {others[0]!r} and {model.name!r} would share the folder {model.slug}; "
                "choose different names, as in NAME=SPEC"
            )
    return models


def _read(text: str, trust: bool) -> Model:
    name, equals, spec = text.partition("=")
    if not equals or ":" in name:
        name, spec = text, text
    name = name.strip()
    source = parse_backbone(spec, trust=trust)
    if source.path is not None and not source.path.expanduser().is_file():
        raise InputError(f"--model {text}: {source.path} does not exist; check the path")
    slug = re.sub(r"([^\w.-]|_)+", "-", name).strip("-.")[-80:]
    if not slug:
        raise InputError(f"--model {text}: the name needs letters or digits, as in BAM={spec}")
    digest = file_digest(source.path) if source.path else ""
    return Model(name, slug, source, digest, source.preprocessing(trust=trust))
