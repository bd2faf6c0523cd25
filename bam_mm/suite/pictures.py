"""Pictures of the models for the report: attention maps and histograms of similarities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config

from bam_mm.checkpoint import read_checkpoint
from bam_mm.checkpoint.recorded_config import parse_settings
from bam_mm.data.file_names import is_hidden
from bam_mm.errors import InputError
from bam_mm.figures.attention import build_attention_model, plot_attention, read_image
from bam_mm.figures.similarities import measure_similarities, plot_similarities
from bam_mm.suite.methods import PRETRAIN
from bam_mm.suite.models import Model
from bam_mm.suite.planning import Run
from bam_mm.suite.records import PICTURES
from bam_mm.variables.entries import kind_of

PAIRS = 500
"""Number of images for the histogram of similarities."""


def draw_pictures(runs: Sequence[Run], log: Callable[[str], None] = print) -> list[Path]:
    """Draw the missing pictures: attention on the suite's images, and similarities of BAM's views.

    Args:
        runs: Runs of one suite; their models are drawn.
        log: Function that receives a message for each picture that cannot be drawn.

    Returns:
        Files that were written.
    """
    if not runs:
        return []
    settings = runs[0].settings
    written: list[Path] = []
    images = [path for pattern in runs[0].suite.look for path in _first(settings.data, pattern)]
    names = short_names(list(dict.fromkeys(images)))
    models = _with_weights(runs)
    for model in models.values():
        jobs: list[tuple[str, Callable[..., Path], Path | None]]
        jobs = [
            (f"attention_{model.slug}_{name}.png", _attention, path) for path, name in names.items()
        ]
        if model.source.kind == "bam" and not model.method:
            jobs.append((f"similarities_{model.slug}.png", _similarities, None))
        for name, draw, path in jobs:
            out = settings.folder / PICTURES / name
            if out.is_file() and not _outdated(out, model):
                continue
            try:
                out.parent.mkdir(parents=True, exist_ok=True)
                written.append(draw(model, path, out, runs[0]))
            except (InputError, OSError) as error:
                log(f"picture {name} was not drawn: {error}")
    return written


def _outdated(picture: Path, model: Model) -> bool:
    """Return whether a method has been pretrained again since a picture was drawn."""
    path = model.source.path
    return (
        bool(model.method) and path is not None and (path.stat().st_mtime > picture.stat().st_mtime)
    )


def _with_weights(runs: Sequence[Run]) -> dict[str, Model]:
    """Return the models by slug; of methods, the first seed whose pretraining has a result."""
    models: dict[str, Model] = {}
    for run in runs:
        if run.model.slug not in models and run.task.kind != PRETRAIN:
            with suppress(InputError):
                models[run.model.slug] = run.with_checkpoint().model
    return models


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Name images by their files, and by as many folders as it takes to tell them apart.

    Args:
        paths: Different paths of images.

    Returns:
        A different name of each path, such as ``dog``, or ``train_0000`` and ``val_0000``.
    """
    bare = Counter(path.with_suffix("") for path in paths)
    parts = {
        path: (path if bare[path.with_suffix("")] > 1 else path.with_suffix("")).absolute().parts
        for path in paths
    }
    depths = dict.fromkeys(paths, 1)
    while True:
        names = {path: "_".join(parts[path][-depth:]) for path, depth in depths.items()}
        counts = Counter(names.values())
        same = [p for p in paths if counts[names[p]] > 1 and depths[p] < len(parts[p])]
        if not same:
            return names
        for path in same:
            depths[path] += 1


def _first(data: Path, pattern: str) -> list[Path]:
    return sorted(path for path in data.glob(pattern) if not is_hidden(path))[:1]


def _attention(model: Model, path: Path, out: Path, run: Run) -> Path:
    attention_model = build_attention_model(model.source, trust=run.settings.trust)
    side = model.size or run.suite.look_size
    image = read_image(
        path,
        short_side=side,
        multiple=attention_model.multiple,
        fixed=attention_model.fixed,
    )
    return plot_attention(image, attention_model.attention(image), out, heads=attention_model.heads)


def _similarities(model: Model, _: None, out: Path, run: Run) -> Path:
    content = read_checkpoint(model.checkpoint, trust=run.settings.trust)
    try:
        config = Config(parse_settings(content["meta"]["cfg"]))
        if kind_of(config.model) != "BAM":
            raise InputError(f"{model.checkpoint} is not a BAM pretraining checkpoint")
        histograms = measure_similarities(
            config, model.checkpoint, count=PAIRS, branch=model.source.branch or "teacher"
        )
    except (AttributeError, KeyError, TypeError, SyntaxError) as error:
        raise InputError(
            f"{model.checkpoint} has no usable training config ({type(error).__name__}: {error})"
        ) from error
    return plot_similarities(histograms, out)
