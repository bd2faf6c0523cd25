"""Training from a config and the command line's arguments."""

from __future__ import annotations

import logging
from argparse import Namespace

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import Runner

from bam_mm.checkpoint import newest_checkpoint
from bam_mm.checkpoint.reading import TRUST_FLAG
from bam_mm.data.checks.dense_labels import check_dense_data
from bam_mm.distributed import unwrap_model
from bam_mm.errors import InputError
from bam_mm.launch.data_folders import SCOPES
from bam_mm.launch.run_facts import write_facts
from bam_mm.launch.runner import build_runner, input_error_in, prepare, scale_batch


def train(config: Config, args: Namespace) -> None:
    """Train.

    Args:
        config: As :func:`~bam_mm.launch.config.load_config` gives it.
        args: Of ``tools/train.py``.

    Raises:
        InputError: For whatever the user can mend.
    """
    config = prepare(config, args)
    if args.amp and config.optim_wrapper.get("type", "OptimWrapper") == "OptimWrapper":
        config.optim_wrapper.type = "AmpOptimWrapper"
        config.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.resume is not None:
        config.load_from = resume_from(config.work_dir) if args.resume == "auto" else args.resume
        config.resume = config.load_from is not None
    if args.auto_scale_lr:
        scale_batch(config)
    if getattr(args, "trust_checkpoint", False):
        _trust(config)
    _check_batch(config)
    _check_accumulation(config)
    _compare_lengths(config)
    runner = build_runner(config)
    try:
        if config.get("default_scope") in SCOPES:
            _check_data(runner)
        runner.train()
    except Exception as error:
        # mmengine builds loops and loaders lazily, inside train(), and wraps what they raise.
        raise input_error_in(error) or error from error
    write_facts(runner.work_dir, "train")


def resume_from(work_dir: str) -> str | None:
    """The checkpoint that ``--resume`` without a path goes on from; says what it passes over.

    Args:
        work_dir: Folder of the run.

    Returns:
        The newest whole checkpoint; None to begin anew where the run has saved nothing yet.

    Raises:
        InputError: If there are checkpoints, and none of them is whole.
    """
    path, faults = newest_checkpoint(work_dir)
    for broken, fault in faults.items():
        print_log(
            f"checkpoint {broken} is broken ({fault}): passed over, it will be written again",
            logger="current",
            level=logging.WARNING,
        )
    if path is None and faults:
        raise InputError(
            f"--resume: every checkpoint in {work_dir} is broken "
            f"({', '.join(p.name for p in faults)}): copy them again, or delete them to begin anew"
        )
    said = f"resuming from {path}" if path else f"nothing to resume in {work_dir}: beginning anew"
    print_log(said, logger="current")
    return None if path is None else str(path)


def _trust(config: Config) -> None:
    loading = [
        hook
        for hook in config.get("custom_hooks") or []
        if hook.get("type", "").endswith("LoadBackboneHook")
    ]
    if not loading:
        raise InputError(
            f"{TRUST_FLAG}: {config.filename} starts from no checkpoint, so there is none to "
            "trust; leave the flag out"
        )
    for hook in loading:
        hook.trust = True


def _compare_lengths(config: Config) -> None:
    # max_epochs on the command line does not reach what a config computes from it.
    epochs = (config.get("train_cfg") or {}).get("max_epochs")
    schedulers = config.get("param_scheduler") or []
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    ends = {
        s["end"] for s in schedulers if s.get("by_epoch", True) and s.get("end") not in (None, INF)
    }
    if epochs is not None and ends and max(ends) != epochs:
        print_log(
            f"the training ends after epoch {epochs}, its learning rate's schedule after "
            f"{max(ends)}: set param_scheduler.N.end and T_max too, unless that is meant",
            logger="current",
            level=logging.WARNING,
        )


def _check_data(runner: Runner) -> None:
    # mmdet and mmseg leave out silently what does not fit. Here and not in a hook: without a single
    # image left, schedules already fail.
    model = unwrap_model(runner.model)
    for part, loop in (("train", runner.train_loop), ("val", runner.val_loop)):
        if loop is not None:
            check_dense_data(model, loop.dataloader.dataset, part)


def _check_batch(config: Config) -> None:
    batch = (config.get("train_dataloader") or {}).get("batch_size")
    if config.model.get("type", "").endswith("BAM") and batch is not None and batch < 2:
        raise InputError(
            f"train_dataloader.batch_size={batch}: BAM attends to the other images of the batch; "
            "set it to 2 at least, better hundreds (--cfg-options train_dataloader.batch_size=128)"
        )


def _check_accumulation(config: Config) -> None:
    steps = config.optim_wrapper.get("accumulative_counts", 1)
    if config.model.get("type", "").endswith("BAM") and steps > 1:
        raise InputError(
            f"optim_wrapper.accumulative_counts={steps}: the loss of BAM attends over the whole "
            "batch, so gradients accumulated over small batches belong to another loss; set it to "
            "1 and get the batch by more processes, model.activation_checkpointing=True or a "
            "smaller train_dataloader.batch_size"
        )
