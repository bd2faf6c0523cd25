"""Checks that a checkpoint belongs to the run that is resumed from it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

from bam_mm.checkpoint.model import misfits
from bam_mm.checkpoint.settings import setting_differences
from bam_mm.distributed import unwrap_model, world_size
from bam_mm.errors import SharedError

FACTS = "run"
"""Key of a checkpoint's ``meta`` with the facts of :func:`facts_of`."""

FLAG = "--allow-changes"

NAMED = 1000
"""Largest number of images whose names enter the digest of the data."""


def facts_of(runner) -> dict[str, Any]:
    """Return what the numbers of a training depend on in addition to its settings.

    Args:
        runner: Runner whose training loop is built.

    Returns:
        ``batch`` (images between two updates, of all processes), ``images`` (of the training set)
        and ``names`` (a digest of the names of at most :data:`NAMED` images, without the folder of
        the data set).
    """
    loader = runner.train_dataloader
    images = getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    steps = (runner.cfg.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    return {
        "batch": images and images * world_size() * steps,
        "images": len(loader.dataset),
        "names": _digest_of_names(loader.dataset),
    }


def fact_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List the differences between the facts of two runs; unknown ones do not differ."""
    shown = {
        "batch": "train_dataloader.batch_size x processes x accumulated steps: {} -> {}",
        "images": "images of the training set: {} -> {}",
        "names": "names of the training images differ",
    }
    return [
        text.format(before[name], now[name])
        for name, text in shown.items()
        if None not in (before.get(name), now.get(name)) and before[name] != now[name]
    ]


def check_resumed(
    runner, checkpoint: Any, *, allow_changes: bool = False, without_optimizer: bool = False
) -> None:
    """Check that a checkpoint holds the state of this run's model, optimizer and settings.

    Args:
        runner: Runner that is going to load the checkpoint.
        checkpoint: Contents of the file.
        allow_changes: Whether changed settings are only logged.
        without_optimizer: Whether checkpoints of the run hold no optimizer.

    Raises:
        SharedError: If the checkpoint holds weights alone, or belongs to another model, optimizer,
            data set or setting.
    """
    path = runner._load_from or runner._resume
    _refuse_weights_alone(path, checkpoint, without_optimizer)
    meta = checkpoint["meta"]
    changes = setting_differences(meta.get("cfg") or "", runner.cfg.to_dict())
    if FACTS in meta:
        changes += fact_differences(meta[FACTS], facts_of(runner))
    _refuse_other_optimizer(runner, checkpoint, changes)
    wrong = misfits(unwrap_model(runner.model).state_dict(), _state(checkpoint))
    if changes and not allow_changes:
        raise SharedError(
            f"resume: {path} was saved by a run with other settings: {'; '.join(changes)}. Resume "
            f"with the same settings, choose another --work-dir for a new run, or add {FLAG} "
            "(default_hooks.checkpoint.allow_changes=True) to go on with the new ones"
        )
    if wrong:
        raise SharedError(
            f"resume: {path} does not fit the config's model ({wrong}): resume with the config "
            "and the version of bam-mm that it was saved with"
        )
    if changes:
        runner.logger.log(
            logging.WARNING,
            f"{FLAG}: the run goes on with settings that differ from those of {path}: "
            f"{'; '.join(changes)}",
        )


def _refuse_weights_alone(path: Any, checkpoint: Any, without_optimizer: bool) -> None:
    content: Any = checkpoint if isinstance(checkpoint, Mapping) else {}
    meta: Any = content.get("meta") or {}
    parts = {
        "the number of epochs and iterations": "epoch" in meta and "iter" in meta,
        "the log": "message_hub" in content,
        "the optimizer": "optimizer" in content or without_optimizer,
    }
    missing = [part for part, present in parts.items() if not present]
    if missing:
        raise SharedError(
            f"resume: {path} lacks {', '.join(missing)}, so no training can go on from it. "
            "Resume from an epoch_N.pth or iter_N.pth of the run, or start a new run from these "
            "weights without --resume (downstream checkpoint=PATH, in pretraining load_from=PATH)"
        )


def _refuse_other_optimizer(runner, checkpoint: dict, changes: list[str]) -> None:
    saved = checkpoint.get("optimizer", {}).get("param_groups")
    optimizer = getattr(runner.optim_wrapper, "optimizer", None)
    if saved is None or optimizer is None:
        return
    sizes = [
        [len(group["params"]) for group in groups] for groups in (saved, optimizer.param_groups)
    ]
    if sizes[0] == sizes[1]:
        return
    (before, tensors), (now, others) = ((len(s), sum(s)) for s in sizes)
    reason = f" ({'; '.join(changes)})" if changes else ""
    raise SharedError(
        f"resume: the checkpoint's optimizer has {before} groups of {tensors} tensors, the "
        f"config's {now} of {others}: the run was started with another "
        f"optim_wrapper.paramwise_cfg, model or version of bam-mm{reason}; resume with the same, "
        "or start a new run from its weights (load_from=PATH, without --resume)"
    )


def _state(checkpoint: dict) -> dict[str, Any]:
    # mmengine's DDPStrategy saves the names of the wrapped model.
    return {name.removeprefix("module."): value for name, value in checkpoint["state_dict"].items()}


def _digest_of_names(dataset: Any) -> str | None:
    """Return a digest of the names and class folders of images at even intervals.

    It is None if the images have no paths.
    """
    count = len(dataset)
    named = min(count, NAMED)
    try:
        infos = [dataset.get_data_info(number * count // named) for number in range(named)]
        paths = [info["img_path"] for info in infos]
    except (AttributeError, KeyError, TypeError):
        return None
    # Class folder and file name. The digest is plain ASCII, whatever the names are.
    names = [str(path).replace("\\", "/").split("/")[-2:] for path in paths]
    return hashlib.sha256(json.dumps(names).encode()).hexdigest()[:16]
