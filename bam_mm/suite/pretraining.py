"""Pretraining as runs of a suite: their protocols, configs and models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import EpochBasedTrainLoop

from bam_mm.checkpoint import BackboneSource, file_digest
from bam_mm.checkpoint.library_preprocessing import settings_preprocessing
from bam_mm.checkpoint.mmpretrain_index import whole_image_backbone
from bam_mm.checkpoint.recorded_config import backbone_settings
from bam_mm.errors import InputError
from bam_mm.launch.config import load_config
from bam_mm.launch.paths import shown
from bam_mm.registry import LOOPS, MODELS
from bam_mm.suite.definitions import Task
from bam_mm.suite.methods import PRETRAIN, Method
from bam_mm.suite.models import Model, slug_of
from bam_mm.suite.protocol import NOT_PROTOCOL, batch_of, digest_of, protocol_of, recorded
from bam_mm.suite.records import DONE, model_differences, read_json, record_path
from bam_mm.variables.entries import kind_of, walk

CLOCK = dict(type="bam_mm.TrainingClockHook")
"""Hook that every pretraining of a suite gets; it has no influence on the result."""


def method_task(task: Task, method: Method) -> Task:
    """Return the task of pretraining one method.

    Args:
        task: Task of pretraining all methods.
        method: The method.
    """
    return replace(
        task,
        config={method.name: method.config},
        options=method.options,
        data=method.data,
        cost=method.cost,
    )


def method_model(
    method: Method, options: Mapping[str, Any], *, processes: int = 1, limit: int | None = None
) -> Model:
    """Return the model that a method pretrains, whose weights are known only after that.

    Args:
        method: The method.
        options: Overridden settings of its config, by dotted key: the suite's and the user's.
        processes: Number of processes of the pretraining.
        limit: Maximum number of images of each data set, None for all.

    Raises:
        InputError: If the config has no backbone, or does not train by epochs.
    """
    config = load_config(method.config, options)
    settings = config.to_dict()
    try:
        backbone = backbone_settings(settings)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"method {method.name}: {method.config} has no model with a backbone; name a config "
            "of a pretraining"
        ) from error
    place = shown(method.config)
    if not _trains_by_epoch(config):
        raise InputError(
            f"method {method.name}: train_cfg of {place} does not count epochs, over which "
            "accuracy and time are recorded; set train_cfg = dict(type='EpochBasedTrainLoop', "
            "max_epochs=...)"
        )
    # Evaluated are whole images, also by a network that hides patches while it is pretrained.
    network = whole_image_backbone(backbone)
    source = BackboneSource(f"pretrained by the suite, {place}", "bam", network, None)
    used = settings_preprocessing(settings, f"the config {place}", geometry=False)
    digest = digest_of(pretraining_protocol(config, processes=processes, limit=limit))
    slug = slug_of(method.name)
    imports = tuple((config.get("custom_imports") or {}).get("imports", ()))
    return Model(
        method.title, slug, source, "", used, method=method.name, pretraining=digest,
        imports=imports,
    )  # fmt: skip


def _trains_by_epoch(config: Config) -> bool:
    loop = config.get("train_cfg") or {}
    kind = loop.get("type")
    if kind is None:
        return bool(loop.get("by_epoch"))
    found = LOOPS.get(kind) if isinstance(kind, str) else kind
    return isinstance(found, type) and issubclass(found, EpochBasedTrainLoop)


def pretraining_protocol(config: Config, *, processes: int, limit: int | None) -> dict[str, Any]:
    """Extract the settings of a pretraining that its result depends on, apart from the backbone.

    Args:
        config: Config of the pretraining.
        processes: Number of processes.
        limit: Maximum number of images of each data set, None for all.
    """
    protocol = protocol_of(config, batch=batch_of(config, processes), limit=limit)
    # Where the crops are is decided by a hook beside those that only log and save.
    boxes = (config.get("default_hooks") or {}).get("boxes")
    if boxes:
        protocol["boxes"] = _boxes(boxes.to_dict())
    if initial := _initial_weights(config):
        protocol["initial"] = initial
    return protocol


def _boxes(hook: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a hook that computes boxes which its results depend on."""
    # The branch is that of a model to evaluate elsewhere, but here it decides where the crops are.
    found = recorded(hook, without={*NOT_PROTOCOL} - {"branch"})
    if isinstance(found.get("loader"), dict):
        found["loader"].pop("batch_size", None)
    return found


def _initial_weights(config: Config) -> dict[str, Any]:
    """Return where the weights before the first step come from; empty for each class's default.

    Files are stated by their SHA-256, as only their content counts. Protocols leave out all of
    these, because those of the evaluations come from the model.
    """
    backbone = (config.get("model") or {}).get("backbone") or {}
    found = {"model.backbone.init_cfg": backbone.get("init_cfg")}
    for key, value in walk(config):
        if key.rpartition(".")[2] in ("checkpoint", "load_from") and isinstance(value, str):
            file = Path(value).expanduser()
            found[key] = file_digest(file) if file.is_file() else value
    return {key: recorded(value, without=()) for key, value in found.items() if value is not None}


def add_measurements(config: Config, *, limit: int | None) -> list[str]:
    """Let a pretraining measure its time, and score few images if there are few.

    Args:
        config: Config of the run, changed in place.
        limit: Maximum number of images of each data set, None for all.

    Returns:
        Settings that had to change for the limit.
    """
    hooks = [*(config.get("custom_hooks") or ())]
    if not any(kind_of(hook) == kind_of(CLOCK) for hook in hooks):
        hooks.append(dict(CLOCK))
    config.custom_hooks = hooks
    notes = []
    for hook in config.custom_hooks if limit is not None else ():
        if kind_of(hook) == "OnlineKNNHook":
            bank = int(limit * hook.get("bank_fraction", 0.1))
            k = hook.get("k", 20)
            hook["k"] = max(1, min(k, bank // 2))
            if hook["k"] != k:
                notes.append(f"k of the online kNN: {k} -> {hook['k']}, for --limit {limit}")
    return notes


def pretrained(model: Model, seed: int, folder: Path) -> Model:
    """Return a model with the checkpoint that its pretraining has left.

    Args:
        model: Model of a method; others are returned as they are.
        seed: Seed of the pretraining.
        folder: Work folder of the benchmark.

    Raises:
        InputError: If the pretraining has no result or other settings, or its checkpoint is
            missing.
    """
    if not model.method:
        return model
    record = read_json(record_path(folder, model.slug, PRETRAIN, seed))
    if record is None or record["status"] != DONE:
        why = f"failed: {record['message']}" if record else "has no result"
        raise InputError(f"the pretraining of {model.name} with seed {seed} {why}")
    if found := model_differences(record["model"], model):
        raise InputError(
            f"the pretraining of {model.name} with seed {seed} in {folder} has other settings "
            f"({'; '.join(found)}): another call has made it since this one began. Undo the change "
            "of --cfg-options, or choose another --work-dir"
        )
    path = folder / record["checkpoint"]["file"]
    if not path.is_file():
        raise InputError(
            f"{model.name}: the checkpoint {path} of its pretraining is missing; copy it there, or "
            f"delete {folder}/records/{model.slug} to pretrain again"
        )
    source = replace(model.source, path=path, spec=f"bam:{path}")
    return replace(model, source=source, sha256=record["checkpoint"]["sha256"])


def backbone_parameters(model: Model) -> int:
    """Return the number of parameters of a model's backbone."""
    init_default_scope("mmpretrain")
    import_module("bam_mm")
    return sum(each.numel() for each in MODELS.build(dict(model.source.config)).parameters())
