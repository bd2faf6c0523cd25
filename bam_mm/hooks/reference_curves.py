"""Reference curves of pretraining runs: what their files hold, reading and writing them."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bam_mm.checkpoint import write_whole
from bam_mm.errors import InputError, listing

REFERENCES = (Path(__file__).resolve().parents[1] / ".mim/reference_curves").resolve()
"""Folder of the package's reference curves."""

QUANTITIES = {
    "loss": "loss (nats)",
    "attention_entropy": "entropy of the prediction (nats)",
    "target_entropy": "entropy of the target (nats)",
    "feature_std": "feature std (1 = spread evenly)",
    "knn/teacher_top1": "kNN top-1, teacher (%)",
    "knn/student_top1": "kNN top-1, student (%)",
}
"""Quantities of a curve, by their name in the log, with the label of their axis.

``attention_entropy`` is that of the student's distribution: BAM's attention over the batch, DINO's
probabilities of the prototypes.
"""

FORMAT = 1
"""Version of the files."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Form of the names of reference curves."""


@dataclass(frozen=True)
class Band:
    """A quantity over the epochs of the reference runs.

    Attributes:
        epoch: Epochs of the P points, ascending; 0.5 is half of the first epoch.
        mean: Means over the runs.
        low: Lowest values of the runs.
        high: Highest values of the runs.
    """

    epoch: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    def at(self, epoch: float) -> tuple[float, float, float] | None:
        """Interpolate linearly between the points.

        Args:
            epoch: Epoch of the run that is compared.

        Returns:
            Mean, lowest and highest value; None before the first point and after the last one.
        """
        # The epochs of a file are rounded.
        if not self.epoch[0] - 1e-3 <= epoch <= self.epoch[-1] + 1e-3:
            return None
        found = [float(np.interp(epoch, self.epoch, y)) for y in (self.mean, self.low, self.high)]
        return found[0], found[1], found[2]

    @property
    def spacing(self) -> float:
        """Median number of epochs between two points; 0 of a single point."""
        return float(np.median(np.diff(self.epoch))) if len(self.epoch) > 1 else 0.0


@dataclass(frozen=True)
class ReferenceCurves:
    """Curves of one or several runs of the same config that differ in their seeds.

    Attributes:
        title: Title for readers.
        method: Class of the model, such as ``BAM``.
        config: Name of the config, without folder and ``.py``.
        dataset: Name of the training set.
        images: Number of images of the training set.
        batch: Number of images of an iteration, over all processes.
        epochs: Number of epochs.
        iterations: Number of iterations of an epoch.
        seeds: Number of runs.
        versions: Versions of ``bam-mm`` and ``torch``.
        hardware: Devices in words, such as ``4 x NVIDIA H100``.
        series: Bands by quantity, with keys of :data:`QUANTITIES`.
    """

    title: str
    method: str
    config: str
    dataset: str
    images: int
    batch: int
    epochs: int
    iterations: int
    seeds: int
    versions: Mapping[str, str]
    hardware: str
    series: Mapping[str, Band]


def reference_names() -> list[str]:
    """Return the names of the package's reference curves."""
    return sorted(path.stem for path in REFERENCES.glob("*.json"))


def reference_path(name: str | Path) -> Path:
    """Return where reference curves are, or are to be written.

    Args:
        name: Path of a ``.json`` file, or a name in the package.

    Raises:
        InputError: If a name has characters other than letters, digits and ``._-``.
    """
    text = str(name)
    if text.endswith(".json"):
        return Path(text).expanduser()
    if not NAME.fullmatch(text):
        raise InputError(
            f"reference curves {text!r}: neither the path of a .json file nor a name of letters, "
            "digits and ._-; correct it"
        )
    return REFERENCES / f"{text}.json"


def read_reference(name: str | Path) -> ReferenceCurves:
    """Read reference curves.

    Args:
        name: Path of a ``.json`` file, or a name in the package.

    Raises:
        InputError: If there is no such file or name, or the file holds no valid curves.
    """
    path = reference_path(name)
    if not path.is_file():
        raise InputError(_unknown(str(name), path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"reference curves {path}: no JSON ({error}); write it again") from error
    try:
        return _parse(content)
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"reference curves {path}: {error}; write the file again with bam-mm plot "
            "--save-reference"
        ) from error


def write_reference(curves: ReferenceCurves, name: str | Path) -> Path:
    """Write reference curves, with five significant digits.

    Args:
        curves: The curves.
        name: Path of a ``.json`` file, or a name, for a file in the package's folder.

    Returns:
        The file.

    Raises:
        InputError: If the name is invalid or the file cannot be written.
    """
    path = reference_path(name)
    head = {f.name: getattr(curves, f.name) for f in fields(curves) if f.name != "series"}
    head["versions"] = dict(curves.versions)
    lines = [f'  "format": {FORMAT}']
    lines += [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    bands = ",\n".join(f"    {json.dumps(k)}: {_band_text(b)}" for k, b in curves.series.items())
    lines.append(f'  "series": {{\n{bands}\n  }}')
    write_whole(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())
    return path


def _band_text(band: Band) -> str:
    rows = [("epoch", [round(x, 6) for x in band.epoch])]
    rows += [(k, [float(f"{x:.5g}") for x in getattr(band, k)]) for k in ("mean", "low", "high")]
    text = ",\n".join(
        f'      "{key}": {json.dumps(row, separators=(",", ":"))}' for key, row in rows
    )
    return "{\n" + text + "\n    }"


def _unknown(name: str, path: Path) -> str:
    if name.endswith(".json"):
        return f"reference curves {path}: no such file; check the path"
    known = reference_names()
    if not known:
        return (
            f"reference curves {name!r}: the package has none yet; pass the path of a .json file, "
            "or record a run with bam-mm plot RUN --save-reference FILE.json"
        )
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    nearest = f"did you mean {listing(close)}? " if close else ""
    return (
        f"reference curves {name!r} do not exist: {nearest}The package has {listing(known, 20)}; "
        "the path of a .json file works, too"
    )


def _parse(content: Any) -> ReferenceCurves:
    """Build the curves of a file's content.

    Raises:
        ValueError: If something is missing or wrong; the message names it.
    """
    if not isinstance(content, dict):
        raise ValueError("must hold one JSON object")
    if content.get("format") != FORMAT:
        raise ValueError(f"format={content.get('format')!r}, but this version reads {FORMAT}")
    names = [field.name for field in fields(ReferenceCurves)]
    if missing := [name for name in names if name not in content]:
        raise ValueError(f"lacks {listing(missing)}")
    for name in ("title", "method", "config", "dataset", "hardware"):
        if not isinstance(content[name], str):
            raise ValueError(f"{name}={content[name]!r} is no text")
    for name in ("images", "batch", "epochs", "iterations", "seeds"):
        value = content[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}={value!r} is no integer of at least 1")
    for name in ("versions", "series"):
        if not isinstance(content[name], dict):
            raise ValueError(f"{name} is no JSON object")
    if not content["series"]:
        raise ValueError("series is empty")
    series = {name: _parse_band(name, band) for name, band in content["series"].items()}
    versions = {str(name): str(value) for name, value in content["versions"].items()}
    return ReferenceCurves(
        **{n: content[n] for n in names} | dict(series=series, versions=versions)
    )


def _parse_band(name: str, band: Any) -> Band:
    if name not in QUANTITIES:
        raise ValueError(f"series has {name!r}, but knows {', '.join(QUANTITIES)}")
    keys = [field.name for field in fields(Band)]
    if not isinstance(band, dict) or sorted(band) != sorted(keys):
        raise ValueError(f"series.{name} must hold {', '.join(keys)}")
    rows = [_numbers(f"series.{name}.{key}", band[key]) for key in keys]
    if len({len(row) for row in rows}) > 1 or not rows[0]:
        counts = ", ".join(f"{key} {len(row)}" for key, row in zip(keys, rows, strict=True))
        raise ValueError(f"series.{name} has different numbers of values, or none ({counts})")
    found = Band(*rows)
    if any(after <= before for before, after in pairwise(found.epoch)):
        raise ValueError(f"series.{name}.epoch does not ascend")
    for x, mean, low, high in zip(found.epoch, found.mean, found.low, found.high, strict=True):
        if not low <= mean <= high:
            raise ValueError(
                f"series.{name} at epoch {x}: mean {mean} is not between {low} and {high}"
            )
    return found


def _numbers(place: str, values: Any) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"{place} is no list")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{place} holds {value!r}, which is no number")
        if not math.isfinite(value):
            raise ValueError(f"{place} holds {value}, which is not finite")
    return tuple(map(float, values))
