"""From a config to a runner, for any library's config."""

from __future__ import annotations

import logging
from argparse import Namespace
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from bam_mm.checkpoint import forbid_unpickling
from bam_mm.distributed import start_on_cpu
from bam_mm.errors import InputError
from bam_mm.launch.config import import_custom_modules, replace
from bam_mm.launch.data_folders import check_data_folders


def prepare(config: Config, args: Namespace) -> Config:
    """Put what the command line says into a loaded config."""
    config.launcher = args.launcher
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    elif config.get("work_dir") is None:
        config.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = config.get(name)
        if isinstance(loader, dict) and config.get("default_scope") == "mmpretrain":
            loader.setdefault("collate_fn", dict(type="default_collate"))
            loader.setdefault("persistent_workers", loader.get("num_workers", 0) > 0)
    return config


def fit_precision_to_machine(config: Config) -> None:
    """Without a GPU, train ``amp`` configs in float32 and say so: mmengine's wrapper needs one."""
    wrapper = config.get("optim_wrapper")
    if not wrapper or wrapper.get("type") != "AmpOptimWrapper" or torch.cuda.is_available():
        return
    print_log(
        f"no GPU: {wrapper.get('dtype', 'mixed')} precision is off, training runs in float32",
        logger="current",
        level=logging.WARNING,
    )
    kept = {k: v for k, v in wrapper.items() if k not in ("type", "dtype", "loss_scale")}
    config.optim_wrapper = ConfigDict(type="OptimWrapper", **kept)


def fit_processes_to_machine(config: Config) -> None:
    """Without GPUs, let torchrun's processes talk over gloo and keep the model on the CPU."""
    if config.get("launcher") != "pytorch" or torch.cuda.is_available():
        return
    start_on_cpu()
    # mmengine would tell the wrapper to use GPU number LOCAL_RANK.
    config.setdefault(
        "model_wrapper_cfg",
        dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False),
    )
    if replace(config.get("model"), ["type"], lambda kind: "BN" if kind == "SyncBN" else kind):
        print_log(
            "no GPU: SyncBN needs one, each process normalises by its own images (BN)",
            logger="current",
            level=logging.WARNING,
        )


def build_runner(config: Config) -> Runner:
    """Build the runner; from here on no checkpoint is unpickled.

    mmengine wraps whatever an argument check of ours raises into an error that names the class it
    was building; the user's message is dug out of it again.

    Raises:
        InputError: If something in the config or the data is wrong.
    """
    forbid_unpickling()
    check_data_folders(config)
    fit_precision_to_machine(config)
    fit_processes_to_machine(config)
    import_custom_modules(config)
    try:
        if "runner_type" in config:
            return RUNNERS.build(config)
        return Runner.from_cfg(config)
    except Exception as error:
        raise input_error_in(error) or error from error


def input_error_in(error: BaseException | None) -> InputError | None:
    """The :class:`InputError` at the bottom of a chain of exceptions, if there is one."""
    while error is not None:
        if isinstance(error, InputError):
            return error
        error = error.__cause__ or error.__context__
    return None


def scale_batch(config: Config) -> None:
    """Switch on mmengine's scaling of the learning rate by the batch size.

    Raises:
        InputError: If the config does not say for which batch its learning rate is meant.
    """
    if not config.get("auto_scale_lr"):
        raise InputError(
            f"--auto-scale-lr: {config.filename} has no auto_scale_lr.base_batch_size; add it"
        )
    config.auto_scale_lr = ConfigDict(config.auto_scale_lr, enable=True)
