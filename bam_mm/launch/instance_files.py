"""Checks that a COCO instance file suits its data set, its metric and the model of a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS

from bam_mm.data.coco.annotations import Maskless
from bam_mm.data.coco.class_names import check_class_names, plain_names
from bam_mm.data.coco.reader import InstanceFile, read_instances
from bam_mm.errors import InputError, listing
from bam_mm.variables.entries import kind_of


def data_sets_of(data: Any) -> Iterator[Mapping[str, Any]]:
    """Iterate over the configs of data sets, also inside wrappers such as ``RepeatDataset``.

    Args:
        data: Config of a dataloader or a data set; anything but a dict yields nothing.
    """
    if not isinstance(data, Mapping):
        return
    inner = [data["dataset"]] if "dataset" in data else data.get("datasets")
    if inner is None:
        yield data
    for each in inner or []:
        yield from data_sets_of(each)


def class_of(config: Config, data: Mapping[str, Any]) -> Any:
    """Return the class of a data set's config; None if it is in no registry."""
    kind = data.get("type")
    if not isinstance(kind, str):
        return kind
    with DATASETS.switch_scope_and_registry(config.default_scope) as registry:
        return registry.get(kind)


def check_instance_file(
    config: Config, part: str, data: Mapping[str, Any], path: Path, classes: Sequence[str]
) -> None:
    """Read the annotation file of a ``CocoDataset``, and check it before the run is built.

    The data set then takes over what was read, see :func:`bam_mm.data.coco.api.read_ahead`. Other
    data sets with files of their own are not checked.

    Args:
        config: Config of the run.
        part: ``train``, ``val`` or ``test``.
        data: Config of the data set.
        path: Path of its annotation file.
        classes: Names of its classes; empty for all categories of the file.

    Raises:
        InputError: If the file has a fault, lacks a class, annotations or masks that the run needs,
            or the metric reads another file.
    """
    from bam_mm.data.coco import api

    api.install()
    if not api.is_read_here(class_of(config, data)):
        return
    images = path.parent if not data.get("data_root") else Path(data["data_root"]).expanduser()
    folder = images / ((data.get("data_prefix") or {}).get("img") or "")
    found = api.read_ahead(path, folder)
    names = [entry["name"] for entry in found.content["categories"]]
    classes = classes or names
    check_class_names(classes, names, str(path), suggested=_with_objects(found) or names)
    classes = plain_names(classes)
    metrics = list(_metrics_of(config, part))
    _check_annotations(found, part, path, metrics)
    _check_masks(found, part, config, metrics)
    if not data.get("test_mode"):
        _count_filtered(found, data.get("filter_cfg") or {}, classes)
    for metric in metrics:
        _check_metric(metric, part, found, path, classes)


def _with_objects(found: InstanceFile) -> list[str]:
    """Return the names of categories but those that only group others, as some tools add them."""
    groups = {entry.get("supercategory") for entry in found.content["categories"]}
    used = {annotation["category_id"] for annotation in found.content["annotations"]}
    return [
        entry["name"]
        for entry in found.content["categories"]
        if entry["id"] in used or entry["name"] not in groups
    ]


def _metrics_of(config: Config, part: str) -> Iterator[Mapping[str, Any]]:
    metrics = config.get(f"{part}_evaluator") or []
    for metric in [metrics] if isinstance(metrics, Mapping) else metrics:
        if isinstance(metric, Mapping) and kind_of(metric).endswith("CocoMetric"):
            yield metric


def _check_annotations(
    found: InstanceFile, part: str, path: Path, metrics: Sequence[Mapping[str, Any]]
) -> None:
    only_predicts = bool(metrics) and all(metric.get("format_only") for metric in metrics)
    if not found.content["annotations"] and (part != "test" or not only_predicts):
        raise InputError(
            f"{path} has no annotations, which the {part} data need: provide the file that has "
            "them" + ("" if part != "test" else ", or set test_evaluator.format_only=True")
        )


def _check_masks(
    found: InstanceFile, part: str, config: Config, metrics: Sequence[Mapping[str, Any]]
) -> None:
    trained: Maskless = found.counts.trained
    scored = found.counts.all
    loader = config.get(f"{part}_dataloader") or {}
    if trained.number and _has(loader.get("dataset"), "with_mask"):
        _stop(trained, found, "the data pipeline loads masks")
    if scored.number and any("segm" in _listed(metric.get("metric", "bbox")) for metric in metrics):
        _stop(scored, found, "the metric evaluates masks (segm)")


def _count_filtered(
    found: InstanceFile, filters: Mapping[str, Any], classes: Sequence[str]
) -> None:
    """Note how many images mmdet's filters leave out of training; the data set logs the notes."""
    images = found.content["images"]
    smallest = filters.get("min_size", 0)
    small = sum(min(entry["width"], entry["height"]) < smallest for entry in images)
    found.notes.add("images", f"that training leaves out (a side below {smallest} px)", small)
    if filters.get("filter_empty_gt"):
        known = {e["id"] for e in found.content["categories"] if e["name"] in classes}
        shown = {a["image_id"] for a in found.content["annotations"] if a["category_id"] in known}
        found.notes.add("images", "that training leaves out (no object)", len(images) - len(shown))


def _stop(maskless: Maskless, found: InstanceFile, needs: str) -> None:
    raise InputError(
        f"{maskless.number:,} of {len(found.content['annotations']):,} annotations have no usable "
        f"mask, and {needs} (the first: {maskless.first}): correct their segmentation, or train "
        "boxes alone (docs/protocols/detection.md, Boxes alone)"
    )


def _has(node: Any, key: str) -> bool:
    """Return whether a nested config has a true value of a key anywhere."""
    if isinstance(node, Mapping):
        return bool(node.get(key)) or any(_has(value, key) for value in node.values())
    return isinstance(node, (list, tuple)) and any(_has(value, key) for value in node)


def _listed(value: Any) -> Sequence[str]:
    return [value] if isinstance(value, str) else value


def _check_metric(
    metric: Mapping[str, Any],
    part: str,
    found: InstanceFile,
    path: Path,
    classes: Sequence[str],
) -> None:
    other = metric.get("ann_file")
    other = None if other is None or "://" in str(other) else other
    if other is not None and not Path(other).is_file():
        raise InputError(
            f"{part}_evaluator.ann_file={str(other)!r} does not exist: set it to the annotation "
            f"file of {part}_dataloader, {path}"
        )
    if other is not None and Path(other).resolve() != path.resolve():
        _check_same_images(other, part, found, path)
    names = [entry["name"] for entry in found.content["categories"] if entry["name"] in classes]
    ids = [entry["id"] for entry in found.content["categories"] if entry["name"] in classes]
    if metric.get("classwise") and (names != list(classes) or ids != sorted(ids)):
        ordered = [name for _, name in sorted(zip(ids, names, strict=True))]
        raise InputError(
            f"{part}_evaluator.classwise=True: mmdet names the classes of its table in the order "
            f"of the ids in {path} ({listing(ordered)}), and metainfo.classes lists them as "
            f"{listing(classes)}; list them in the order of the ids"
        )


def _check_same_images(other: str, part: str, found: InstanceFile, path: Path) -> None:
    expected = {entry["id"] for entry in found.content["images"]}
    scored = {entry["id"] for entry in read_instances(other).content["images"]}
    if scored != expected:
        raise InputError(
            f"{part}_evaluator.ann_file={str(other)!r} has {len(scored):,} images, and "
            f"{path} of {part}_dataloader {len(expected):,} ({len(scored & expected):,} in both): "
            "set both to the same file, because the metric counts an image without predictions as "
            "missed"
        )
