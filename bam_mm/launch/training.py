"""Training with a config and the arguments of the command line."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import Runner

from bam_mm.checkpoint import newest_checkpoint
from bam_mm.checkpoint.reading import TRUST_FLAG
from bam_mm.data.checks.dense_labels import check_dense_data
from bam_mm.data.checks.few_classes import fit_topk
from bam_mm.data.file_names import natural_key
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError, listing
from bam_mm.hooks.check_finite import divergence_explained
from bam_mm.hooks.check_labels import classifying_part
from bam_mm.hooks.resumed_run import FLAG
from bam_mm.launch.batches import explicit_batches, fit_batches
from bam_mm.launch.data_folders import SCOPES
from bam_mm.launch.epoch_length import report_epoch
from bam_mm.launch.gpu_memory import PeakGPUMemory
from bam_mm.launch.learning_rate import set_up_learning_rate
from bam_mm.launch.preprocessing import preprocess_for_training
from bam_mm.launch.run_facts import loaders_of, write_facts
from bam_mm.launch.runner import build_runner, prepare, scale_batch, user_errors_unwrapped
from bam_mm.launch.small_batches import check_smallest_batch
from bam_mm.launch.tracking import check_vis, track
from bam_mm.launch.work_folder import training_folder
from bam_mm.models.siamese import SiameseModel
from bam_mm.precision import precision_used
from bam_mm.registry import registered_class
from bam_mm.variables.entries import kind_of, loading_hooks


def train(config: Config, args: Namespace) -> None:
    """Train the config's model.

    Args:
        config: Config returned by :func:`~bam_mm.launch.config.load_config`.
        args: Arguments of ``bam-mm train``.

    Raises:
        InputError: If the config, the data or the checkpoint has an error that the user can fix.
    """
    for name in ("model", "train_cfg", "train_dataloader", "optim_wrapper"):
        if config.get(name) is None:
            raise InputError(
                f"{args.config} has no {name}, so it defines no training: use a config of another "
                f"folder, or add {name}"
            )
    config = prepare(config, args)
    check_vis(getattr(args, "vis", ()))
    _check_batch(config)
    _check_accumulation(config)
    with training_folder(config):
        _train(config, args)


def _train(config: Config, args: Namespace) -> None:
    if args.amp and kind_of(config.optim_wrapper) in ("", "OptimWrapper"):
        config.optim_wrapper.type = "bam_mm.AmpOptimWrapper"
    if args.resume is not None:
        _resume(config, args.resume)
    track(config, getattr(args, "vis", ()), resume=bool(config.get("resume")), train=True)
    if args.auto_scale_lr:
        scale_batch(config)
    if getattr(args, "trust_checkpoint", False):
        _trust(config)
    if getattr(args, "allow_changes", False):
        _allow_changes(config)
    options = getattr(args, "cfg_options", None) or ()
    kept = explicit_batches(config, options)
    preprocessing = preprocess_for_training(config, options=options)
    _compare_lengths(config)
    batches = fit_batches(config, kept=kept, only=("val_dataloader",))
    with PeakGPUMemory() as memory:
        runner = build_runner(config)
        if preprocessing is not None:
            preprocessing.log()
            preprocessing.hand_to(runner)
        for line in batches:
            print_log(line, logger="current")
        set_up_learning_rate(runner)
        # mmengine builds loops and dataloaders lazily, in train(), and wraps their exceptions.
        with user_errors_unwrapped(config):
            if config.get("default_scope") in SCOPES:
                _check_data(runner)
            report_epoch(runner)
            check_smallest_batch(runner)
            _fit_topk(runner)
            with divergence_explained(runner):
                runner.train()
    precision = precision_used(unwrap_model(runner.model))
    write_facts(
        runner.work_dir,
        "train",
        peak_gpu_mb=memory.mb(),
        precision=precision,
        preprocessing=preprocessing.used.facts() if preprocessing else None,
        loaders=loaders_of(runner, "train"),
    )


def _fit_topk(runner: Runner) -> None:
    # Also for configs without CheckLabelsHook. Validation would fail after the first epoch.
    found = classifying_part(unwrap_model(runner.model))
    if found is not None and runner.val_loop is not None:
        fit_topk(runner.val_loop.evaluator.metrics, found[1])


def _resume(config: Config, given: str) -> None:
    found = resume_from(config.work_dir) if given == "auto" else _existing(given)
    if found is not None:
        config.load_from = found
    elif config.get("resume"):
        # Written by mmengine when an earlier start resumed: the checkpoint of that start, not
        # weights to begin with.
        config.load_from = None
    config.resume = found is not None


def resume_from(work_dir: str) -> str | None:
    """Find the checkpoint that ``--resume`` without a path resumes from.

    A warning is logged for each broken checkpoint that is newer.

    Args:
        work_dir: Work folder of the run.

    Returns:
        The newest complete checkpoint; None if the run has saved none yet and starts over.

    Raises:
        InputError: If there are checkpoints, but none of them is complete.
    """
    path, faults = newest_checkpoint(work_dir)
    for broken, fault in faults.items():
        print_log(
            f"checkpoint {broken} is broken ({fault}): passed over, training writes it again",
            logger="current",
            level=logging.WARNING,
        )
    if path is None and faults:
        raise InputError(
            f"--resume: every checkpoint in {work_dir} is broken "
            f"({', '.join(p.name for p in faults)}): copy them again, or delete them to start over"
        )
    print_log(
        f"resuming from {path}" if path else f"nothing to resume in {work_dir}: starting over",
        logger="current",
    )
    return None if path is None else str(path)


def _existing(path: str) -> str:
    """Check that a checkpoint to resume from exists."""
    # Addresses are refused where they are read.
    if "://" not in path and not Path(path).expanduser().is_file():
        folder = Path(path).expanduser().parent
        saved = sorted((p.name for p in folder.glob("*_*.pth")), key=natural_key)
        raise InputError(
            f"--resume {path}: no such file ({folder} has: {listing(saved, 8) or 'no checkpoint'})"
            "; check the path, or write --resume alone for the newest in the work folder"
        )
    return os.path.expanduser(path)


def _allow_changes(config: Config) -> None:
    hook: Any = (config.get("default_hooks") or {}).get("checkpoint") or {}
    if kind_of(hook) != "WholeCheckpointHook":
        raise InputError(
            f"{FLAG}: {config.filename} saves checkpoints with {hook.get('type')}, which does not "
            "compare settings; leave the flag out"
        )
    hook.allow_changes = True


def _trust(config: Config) -> None:
    loading = loading_hooks(config)
    if not loading:
        raise InputError(
            f"{TRUST_FLAG}: {config.filename} starts from no checkpoint, so there is none to "
            "trust; leave the flag out"
        )
    for hook in loading:
        hook.trust = True


def _compare_lengths(config: Config) -> None:
    # max_epochs on the command line does not change the values that a config computes from it.
    epochs = (config.get("train_cfg") or {}).get("max_epochs")
    schedulers = config.get("param_scheduler") or []
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    ends = {
        s["end"] for s in schedulers if s.get("by_epoch", True) and s.get("end") not in (None, INF)
    }
    if epochs is not None and ends and max(ends) != epochs:
        print_log(
            f"training ends after epoch {epochs}, but the learning rate schedule after epoch "
            f"{max(ends)}: set param_scheduler.N.end and T_max too, unless this is intended",
            logger="current",
            level=logging.WARNING,
        )


def _check_data(runner: Runner) -> None:
    # mmdet and mmseg silently skip images that do not fit. Not checked in a hook because the
    # schedules already fail if no image is left.
    model = unwrap_model(runner.model)
    for part, loop in (("train", runner.train_loop), ("val", runner.val_loop)):
        if loop is not None:
            check_dense_data(model, loop.dataloader.dataset, part)


def _comparing(config: Config) -> str:
    """Return the name of the algorithm if its loss compares the images of a batch."""
    try:
        kind = registered_class(config.model.get("type"))
    except InputError:  # The build of the model says what is wrong.
        return ""
    compares = isinstance(kind, type) and issubclass(kind, SiameseModel) and kind.compares_images
    return kind.__name__ if compares else ""


def _check_batch(config: Config) -> None:
    batch = (config.get("train_dataloader") or {}).get("batch_size")
    name = _comparing(config)
    if name and batch is not None and batch < 2:
        raise InputError(
            f"train_dataloader.batch_size={batch}: {name} compares the images of the batch; "
            "set it to at least 2, or better to hundreds, as in --cfg-options "
            "train_dataloader.batch_size=128"
        )


def _check_accumulation(config: Config) -> None:
    steps = config.optim_wrapper.get("accumulative_counts", 1)
    name = _comparing(config)
    if name and steps > 1:
        raise InputError(
            f"optim_wrapper.accumulative_counts={steps}: the loss of {name} compares the images of "
            "the whole batch, so gradients accumulated over small batches belong to another loss; "
            "set it to 1 and save memory with more processes, model.activation_checkpointing=True "
            "(BAM) or a smaller train_dataloader.batch_size"
        )
