"""What a reader of a paper's appendix asks about a task: the settings and data that it ran with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bam_mm.checkpoint.preprocessing import from_facts
from bam_mm.launch.paths import shown
from bam_mm.suite.definitions import Task
from bam_mm.suite.records import DONE
from bam_mm.variables.entries import kind_of, look_up

Record = Mapping[str, Any]

LOADERS = {"bank": "bank", "train": "training", "val": "validation", "test": "test"}
"""Words for the dataloaders in ``loaders`` of a record, in the order of the page."""


def task_setup(task: Task, records: Sequence[Record]) -> dict[str, str]:
    """Describe the settings and data of a task's results.

    Records of earlier versions hold less; what they do not hold is left out.

    Args:
        task: The task.
        records: Records of any tasks.

    Returns:
        Texts by their names, such as ``images: training 4,000, test 900``. Where models differ, a
        text names them.
    """
    done = [r for r in records if r["task"] == task.name and r["status"] == DONE]
    found = {name: _by_model(done, describe) for name, describe in _FACTS.items()}
    configs = {r["variant"]: task.config.get(r["variant"]) for r in done}
    found["config"] = ", ".join(
        shown(path) + (f" ({family})" if len(task.config) > 1 else "")
        for family, path in configs.items()
        if path is not None
    )
    return {name: text for name, text in found.items() if text}


def _by_model(done: Sequence[Record], describe: Callable[[Record], str]) -> str:
    """Return the text that all records share, or each text with its models."""
    models: dict[str, dict[str, None]] = {}
    for record in done:
        if text := describe(record):
            models.setdefault(text, {})[record["model"]["name"]] = None
    if len(models) <= 1:
        return next(iter(models), "")
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in models.items())


def _input(record: Record) -> str:
    size, used = record.get("size"), record.get("preprocessing")
    geometry = from_facts(used).geometry if used else None
    parts = [f"{size[1]} x {size[0]} px"] if size else []
    scales = [*_scales(_setting(record, "test_dataloader.dataset.pipeline"))]
    if geometry is not None:
        parts.append(str(geometry))
    elif (short := _setting(record, "model.short_side")) is not None:
        parts.append(f"frames with a short side of {short} px")
    elif scales:
        # Of detection and segmentation, in which the sizes of images differ.
        parts = [f"resized to {' and '.join(scales)} px", *(f"the first: {p}" for p in parts)]
    return ", ".join(parts)


def _scales(pipeline: Any) -> Iterator[str]:
    for step in pipeline or ():
        if isinstance(step, Mapping) and kind_of(step) == "Resize" and step.get("scale"):
            scale = step["scale"]
            yield " x ".join(map(str, scale)) if isinstance(scale, (list, tuple)) else str(scale)


def _normalisation(record: Record) -> str:
    used = record.get("preprocessing")
    return from_facts(used).describe_normalisation() if used else ""


def _images(record: Record) -> str:
    found = record.get("loaders") or {}
    parts = []
    for name, word in LOADERS.items():
        if facts := found.get(name):
            kind = "videos" if "videos" in facts else "images"
            parts.append(f"{facts[kind]:,} {word} {kind}")
    fraction = _setting(record, "test_cfg.val_fraction")
    if fraction and "train" in found:
        parts.append(f"{100 * fraction:.3g} % of the training images are for validation")
    if record.get("limit") is not None:
        parts.append(f"at most {record['limit']:,} of each (--limit)")
    return ", ".join(parts)


def _videos(record: Record) -> str:
    names = [n for facts in (record.get("loaders") or {}).values() for n in facts.get("names", ())]
    return ", ".join(names)


def _batch(record: Record) -> str:
    found, size = record.get("loaders") or {}, _setting(record, "batch")
    parts = [] if size is None else [f"{size:,} in training"]
    # The batch of a training is that of all processes. Features are extracted from its images, too.
    evaluated = [facts for name, facts in found.items() if name != "train" or size is None]
    if sizes := {facts["batch"] for facts in evaluated if "batch" in facts}:
        parts.append(f"{' and '.join(f'{each:,}' for each in sorted(sizes))} in evaluation")
    return ", ".join(parts)


def _rate(record: Record) -> str:
    optimizer = _setting(record, "optim_wrapper.optimizer") or {}
    if optimizer.get("lr") is None:
        return ""
    rates = _setting(record, "model.learning_rates") or [1.0]
    low, high = (optimizer["lr"] * end for end in (min(rates), max(rates)))
    batch = _setting(record, "batch")
    base = _setting(record, "auto_scale_lr.base_batch_size")
    text = _range(low, high)
    if base and batch and base != batch:
        scaled = _range(low * batch / base, high * batch / base)
        text = f"{scaled} ({text} for a batch of {base:,})"
    if len(rates) > 1:
        text = f"the best of {len(rates)} from {text}"
    return f"{text}, {_named(optimizer)}"


def _range(low: float, high: float) -> str:
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _named(optimizer: Mapping[str, Any]) -> str:
    others = {k: v for k, v in optimizer.items() if k not in ("type", "lr", "_delete_")}
    settings = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in others.items())
    return kind_of(optimizer) + (f" with {settings}" if settings else "")


def _chosen(record: Record) -> str:
    found = record.get("chosen") or {}
    return ", ".join(
        f"{name.replace('_', ' ')} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in found.items()
        if not name.startswith("val_")  # A score, which the table has.
    )


def _length(record: Record) -> str:
    for key, word in (("max_epochs", "epochs"), ("max_iters", "iterations")):
        if number := _setting(record, f"train_cfg.{key}"):
            return f"{number:,} {word[:-1] if number == 1 else word}"
    return ""


def _precision(record: Record) -> str:
    return record.get("precision") or ""


def _options(record: Record) -> str:
    found = record.get("options")
    if found is None:
        return ""  # A record of an earlier version.
    return ", ".join(f"{key}={value}" for key, value in found.items()) or "none"


def _setting(record: Record, key: str) -> Any:
    return look_up(record["protocol"], key)[0]


_FACTS: dict[str, Callable[[Record], str]] = {
    "input": _input,
    "normalisation": _normalisation,
    "data": _images,
    "videos": _videos,
    "batch": _batch,
    "learning rate": _rate,
    "chosen by validation": _chosen,
    "length": _length,
    "precision of the frozen backbone": _precision,
    "options that differ from the suite": _options,
}
