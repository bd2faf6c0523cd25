"""Building a runner from the config of any OpenMMLab library."""

from __future__ import annotations

import logging
import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from traceback import format_exc

import torch
from mmengine._strategy import DDPStrategy
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from bam_mm.checkpoint import forbid_unpickling
from bam_mm.distributed import start_on_cpu, unwrap_model
from bam_mm.errors import InputError
from bam_mm.hooks.check_config import CheckConfigHook, check_variables
from bam_mm.launch.backends import check_backends
from bam_mm.launch.brief_runner import BriefRunner
from bam_mm.launch.build_errors import check_keys, check_scope, explain
from bam_mm.launch.config import import_custom_modules, replace
from bam_mm.launch.data_folders import check_data_folders
from bam_mm.launch.gpu import warn_of_unused_gpu
from bam_mm.launch.library_errors import causes, translated
from bam_mm.launch.loaders import fit_loaders
from bam_mm.launch.map_widths import check_widths
from bam_mm.launch.messages import write_any_name
from bam_mm.launch.numbers import check_numbers
from bam_mm.launch.samplers import move_to_samplers
from bam_mm.launch.work_folder import RANKS
from bam_mm.models.pretrained_backbone import check_initialisers
from bam_mm.registry import STRATEGIES
from bam_mm.variables.entries import kind_of


def prepare(config: Config, args: Namespace) -> Config:
    """Apply the command line's arguments to a loaded config.

    Args:
        config: Config to change.
        args: Arguments of :func:`~bam_mm.launch.arguments.add_common_arguments`.

    Returns:
        The same config.

    Raises:
        InputError: If a number in the config is impossible, or the launcher did not start this
            process.
    """
    _check_launcher(args.launcher)
    config.launcher = args.launcher
    if args.work_dir is not None:
        config.work_dir = args.work_dir
    elif config.get("work_dir") is None:
        config.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    # mmengine does not expand it.
    config.work_dir = os.path.expanduser(config.work_dir)
    for name in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = config.get(name)
        if isinstance(loader, dict) and config.get("default_scope") == "mmpretrain":
            loader.setdefault("collate_fn", dict(type="default_collate"))
            loader.setdefault("persistent_workers", bool(loader.get("num_workers")))
    move_to_samplers(config)
    fit_loaders(config)
    check_numbers(config)
    return config


def _check_launcher(launcher: str) -> None:
    # torch and mmengine would only miss an environment variable.
    started = {
        "pytorch": "torchrun, as tools/dist_train.sh does",
        "slurm": "srun, as tools/slurm_train.sh does",
        "mpi": "mpirun",
    }
    if launcher in started and RANKS[launcher] not in os.environ:
        raise InputError(
            f"--launcher {launcher}: {RANKS[launcher]} is not set, so {launcher} did not start "
            f"this process; start it with {started[launcher]}, or leave --launcher out for a "
            "single process"
        )


def fit_precision_to_machine(config: Config) -> None:
    """Train ``amp`` configs in float32 if there is no GPU, which mmengine's wrapper needs."""
    wrapper = config.get("optim_wrapper")
    if kind_of(wrapper or {}) != "AmpOptimWrapper" or torch.cuda.is_available():
        return
    print_log(
        f"no GPU: {wrapper.get('dtype', 'mixed')} precision is off, training runs in float32",
        logger="current",
        level=logging.WARNING,
    )
    kept = {k: v for k, v in wrapper.items() if k not in ("type", "dtype", "loss_scale")}
    config.optim_wrapper = ConfigDict(type="OptimWrapper", **kept)


def fit_processes_to_machine(config: Config) -> None:
    """If there is no GPU, connect torchrun's processes over gloo and keep the model on the CPU."""
    if config.get("launcher") != "pytorch" or torch.cuda.is_available():
        return
    start_on_cpu()
    # By default, mmengine places the model on GPU number LOCAL_RANK.
    wrapper = dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False)
    config.setdefault("model_wrapper_cfg", wrapper)
    if config.get("runner_type") == "FlexibleRunner":
        strategy = config.get("strategy") or dict(type="DDPStrategy")
        if kind_of(strategy) == "DDPStrategy":
            config.strategy = {"model_wrapper": wrapper, **strategy}
    converted = config.pop("sync_bn", None)  # mmengine converts every BatchNorm of the model.
    # Backbones of this package convert their own.
    converted = replace(config.get("model"), ["sync_bn"], lambda _: False) or converted
    named = replace(config.get("model"), ["type"], lambda kind: "BN" if kind == "SyncBN" else kind)
    if converted or named:
        print_log(
            "no GPU: SyncBN needs one, so each process normalises with its own images (BN)",
            logger="current",
            level=logging.WARNING,
        )


def pass_sync_bn(config: Config) -> None:
    """Pass ``sync_bn`` to the strategy of mmengine's ``FlexibleRunner``, which ignores it itself.

    Args:
        config: Config to change.

    Raises:
        InputError: If the strategy cannot synchronise BatchNorm.
    """
    if config.get("runner_type") != "FlexibleRunner" or config.get("launcher") == "none":
        return
    if sync_bn := config.get("sync_bn"):
        strategy = config.get("strategy") or dict(type="DDPStrategy")
        kind = _strategy_of(strategy["type"])
        if kind is not None and not issubclass(kind, DDPStrategy):
            raise InputError(
                f"sync_bn={sync_bn!r}: strategy {kind.__name__} cannot synchronise BatchNorm; set "
                "sync_bn=None, or a strategy that can, such as DDPStrategy"
            )
        config.strategy = {"sync_bn": sync_bn, **strategy}


def _strategy_of(kind: str | type) -> type | None:
    """Return the class of a strategy, None if no strategy has this name."""
    return STRATEGIES.get(kind) if isinstance(kind, str) else kind


def check_strategy(config: Config) -> None:
    """Check that the ``strategy`` of mmengine's ``FlexibleRunner`` can train the config's model.

    Args:
        config: Config returned by :func:`prepare`.

    Raises:
        InputError: If the runner would ignore the strategy, it does not exist, or it would fail.
    """
    kind = (config.get("strategy") or {}).get("type", "")
    found = _strategy_of(kind) if kind else None
    kind = kind if isinstance(kind, str) else kind.__name__
    if kind and config.get("runner_type") != "FlexibleRunner":
        raise InputError(
            f"strategy.type={kind!r}: the default runner ignores strategies; set "
            "runner_type='FlexibleRunner' too, or remove strategy"
        )
    if kind and found is None:
        known = {
            name.rpartition(".")[2]: name
            for name in (*MMENGINE_STRATEGIES.module_dict, "bam_mm.ShardedStrategy")
        }
        close = get_close_matches(kind.rpartition(".")[2], known, n=1) or known
        raise InputError(
            f"strategy.type={kind!r} does not exist; choose {' or '.join(known[c] for c in close)}"
        )
    if kind.rpartition(".")[2] != "FSDPStrategy":
        return
    if kind_of(config.model).endswith("BAM"):
        raise InputError(
            f"strategy.type={kind!r}: mmengine's FSDP cannot update the teacher of BAM, and each "
            "process clips by the norm of its own part of the gradient; use "
            "strategy.type='bam_mm.ShardedStrategy'"
        )
    if not torch.accelerator.is_available():
        raise InputError(
            f"strategy.type={kind!r}: mmengine's FSDP needs a GPU, and torch finds none; remove "
            "runner_type and strategy to train on the CPU"
        )


def build_runner(config: Config) -> Runner:
    """Build the runner and forbid unpickling checkpoints from then on.

    mmengine wraps exceptions of a constructor in one that names the class. If the cause is an
    :class:`~bam_mm.errors.InputError`, that one is raised instead.

    Args:
        config: Config returned by :func:`prepare`.

    Returns:
        The runner.

    Raises:
        InputError: If something in the config or the data is wrong, or an initialiser is at a
            place where it is not called.
    """
    forbid_unpickling()
    # Options have reached the entries that use them.
    training = config.get("train_dataloader") is not None
    check_variables(config, ("train", "val") if training else ("test",), options=False)
    check_backends(config)
    check_data_folders(config)
    # Every process of a machine sees the same GPUs; one of them warns.
    local_rank = "SLURM_LOCALID" if config.get("launcher") == "slurm" else "LOCAL_RANK"
    if os.environ.get(local_rank, "0") == "0":
        warn_of_unused_gpu()
    fit_precision_to_machine(config)
    fit_processes_to_machine(config)
    import_custom_modules(config)
    check_scope(config)
    check_keys(config)
    check_strategy(config)
    pass_sync_bn(config)
    forget_visualizer(config)
    with user_errors_unwrapped(config):
        flexible = "runner_type" in config
        runner = RUNNERS.build(config) if flexible else BriefRunner.from_cfg(config)
    check_widths(config, runner.model)
    check_initialisers(unwrap_model(runner.model))
    for hook in runner.hooks:
        if isinstance(hook, CheckConfigHook):
            hook.options = False
    for handler in runner.logger.handlers:
        write_any_name(getattr(handler, "stream", None))
    return runner


def forget_visualizer(config: Config) -> None:
    """Forget the visualizer of an earlier run in this process, which mmengine would use again.

    mmengine keeps visualizers by their names, and with them the folder that they write to.
    """
    visualizer = config.get("visualizer")
    name = visualizer.get("name") if isinstance(visualizer, dict) else None
    for kind in (Visualizer, *Visualizer.__subclasses__()):
        kind._instance_dict.pop(name, None)


@contextmanager
def user_errors_unwrapped(config: Config | None = None) -> Iterator[None]:
    """Raise the :class:`~bam_mm.errors.InputError` that mmengine has wrapped in its own exceptions.

    Exceptions of the libraries that are known to come from a user error are translated, and so are
    those that a type or an argument in the config causes; all others pass unchanged.

    Args:
        config: Config whose parts are built.
    """
    try:
        yield
    except Exception as error:
        found = (each for each in causes(error) if isinstance(each, InputError))
        cause: BaseException | None = next(found, None) or translated(error)
        if cause is None and config is not None:
            cause = explain(error, config)
            print_log(format_exc(), logger="current", level=logging.DEBUG)
        if cause is None or cause is error:
            raise
        raise cause from error


def scale_batch(config: Config) -> None:
    """Enable the scaling of the learning rate and its schedule with the batch size.

    :func:`~bam_mm.launch.learning_rate.set_up_learning_rate` then scales them.

    Args:
        config: Config to change.

    Raises:
        InputError: If the config lacks the batch size that its learning rate is meant for.
    """
    if not config.get("auto_scale_lr"):
        raise InputError(
            f"--auto-scale-lr: {config.filename} has no auto_scale_lr.base_batch_size; add it"
        )
    config.auto_scale_lr = ConfigDict(config.auto_scale_lr, enable=True)
