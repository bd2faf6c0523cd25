"""Training from a config and the command line's arguments."""

from __future__ import annotations

from argparse import Namespace

from mmengine.config import Config

from bam_mm.errors import InputError
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
        config.resume = True
        config.load_from = None if args.resume == "auto" else args.resume
    if args.auto_scale_lr:
        scale_batch(config)
    _check_batch(config)
    runner = build_runner(config)
    try:
        runner.train()
    except Exception as error:
        # mmengine builds loops and loaders lazily, inside train(), and wraps what they raise.
        raise input_error_in(error) or error from error


def _check_batch(config: Config) -> None:
    batch = (config.get("train_dataloader") or {}).get("batch_size")
    if config.model.get("type", "").endswith("BAM") and batch is not None and batch < 2:
        raise InputError(
            f"train_dataloader.batch_size={batch}: BAM attends to the other images of the batch; "
            "set it to 2 at least, better hundreds (--cfg-options train_dataloader.batch_size=128)"
        )
