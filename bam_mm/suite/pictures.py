"""Pictures of the models themselves for the page: where they look, and what they find similar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config

from bam_mm.checkpoint import read_checkpoint
from bam_mm.checkpoint.recorded_config import parse_settings
from bam_mm.errors import InputError
from bam_mm.figures.attention import build_looker, plot_attention, read_image
from bam_mm.figures.similarities import measure_similarities, plot_similarities
from bam_mm.suite.models import Model
from bam_mm.suite.planning import Run
from bam_mm.suite.records import PICTURES

PAIRS = 500
"""Images whose similarities are drawn."""


def draw_pictures(runs: Sequence[Run], say: Callable[[str], None] = print) -> list[Path]:
    """Draw what is not there yet: attention on the suite's images, similarities of BAM's views.

    Args:
        runs: Of one call; their models and suite count.
        say: Is told why a picture is missing.

    Returns:
        The files that were written.
    """
    if not runs:
        return []
    settings, written = runs[0].settings, []
    images = [path for pattern in runs[0].suite.look for path in _first(settings.data, pattern)]
    models = {run.model.slug: run.model for run in runs}
    for model in models.values():
        jobs = [(f"attention_{model.slug}_{path.stem}.png", _attention, path) for path in images]
        if model.source.kind == "bam":
            jobs.append((f"similarities_{model.slug}.png", _similarities, None))
        for name, draw, path in jobs:
            out = settings.folder / PICTURES / name
            if out.is_file():
                continue
            try:
                out.parent.mkdir(parents=True, exist_ok=True)
                written.append(draw(model, path, out, runs[0]))
            except (InputError, OSError) as error:
                say(f"no picture {name}: {error}")
    return written


def _first(data: Path, pattern: str) -> list[Path]:
    return sorted(data.glob(pattern))[:1]


def _attention(model: Model, path: Path, out: Path, run: Run) -> Path:
    looker = build_looker(model.source.spec, trust=run.settings.trust)
    image = read_image(path, short_side=run.suite.look_size, multiple=looker.multiple)
    return plot_attention(image, looker.look(image), out, heads=looker.heads)


def _similarities(model: Model, _: None, out: Path, run: Run) -> Path:
    content = read_checkpoint(model.checkpoint, trust=run.settings.trust)
    try:
        config = Config(parse_settings(content["meta"]["cfg"]))
        if config.model.type.rpartition(".")[2] != "BAM":
            raise InputError(f"{model.checkpoint} is no pretraining with BAM")
        histograms = measure_similarities(
            config, model.checkpoint, count=PAIRS, branch=model.source.branch or "teacher"
        )
    except (AttributeError, KeyError, TypeError, SyntaxError) as error:
        raise InputError(
            f"{model.checkpoint} does not say how it was trained ({type(error).__name__}: {error})"
        ) from error
    return plot_similarities(histograms, out)
