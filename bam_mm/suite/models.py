"""Models as the benchmark knows them: a name, a backbone, weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bam_mm.checkpoint import BackboneSource, file_digest, parse_backbone
from bam_mm.errors import InputError

RANDOM = "random"
"""In place of a checkpoint, for the tools."""


@dataclass(frozen=True)
class Model:
    """A model to be scored.

    Attributes:
        name: For tables.
        slug: For folders.
        source: Backbone and weights.
        sha256: Of the weights' file, ``""`` for random ones.
    """

    name: str
    slug: str
    source: BackboneSource
    sha256: str

    @property
    def trained(self) -> bool:
        """Whether it has weights of its own."""
        return self.source.path is not None

    @property
    def checkpoint(self) -> str:
        """What the tools are given."""
        # Absolute: the tools run in the repository's root.
        return str(self.source.path.expanduser().absolute()) if self.trained else RANDOM

    def facts(self) -> dict[str, Any]:
        """For records: what makes two models the same one."""
        return {
            "name": self.name,
            "kind": self.source.kind,
            "branch": self.source.branch,
            "backbone": self.source.config,
            "sha256": self.sha256,
        }


def read_models(texts: Sequence[str], *, trust: bool = False) -> list[Model]:
    """Read models from the command line.

    Args:
        texts: ``SPEC`` or ``NAME=SPEC``, see :func:`~bam_mm.checkpoint.parse_backbone`.
        trust: The user's explicit word that code in a ``bam:`` file may run.

    Returns:
        The models in their order.

    Raises:
        InputError: If there is none, one cannot be read, or two would share a folder.
    """
    if not texts:
        raise InputError("no model: name one or several, as in --model BAM=bam:PATH")
    models = [_read(text, trust) for text in texts]
    for index, model in enumerate(models):
        others = [m.name for m in models[:index] if m.slug == model.slug]
        if others:
            raise InputError(
                f"--model: {others[0]!r} and {model.name!r} would share the folder {model.slug}: "
                "name them apart, as in NAME=SPEC"
            )
    return models


def _read(text: str, trust: bool) -> Model:
    name, equals, spec = text.partition("=")
    if not equals or ":" in name:
        name, spec = text, text
    name = name.strip()
    source = parse_backbone(spec, trust=trust)
    if source.path is not None and not source.path.expanduser().is_file():
        raise InputError(f"--model {text}: {source.path} does not exist; give the file's path")
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")[-80:]
    if not slug:
        raise InputError(f"--model {text}: a name has letters or digits in it, as in BAM={spec}")
    return Model(name, slug, source, file_digest(source.path) if source.path else "")
